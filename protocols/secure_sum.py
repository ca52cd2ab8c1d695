"""Sums of long integer vectors of which nobody sees a part: pairwise masks modulo 2^64.

Every party adds to its vector, in two's complement, one keystream per other party (`protocols.masks`) and hands the
masked vector to whoever sums; the streams cancel in the sum over the whole roster, and in no other. Whoever misses the
secret of one pair of parties sees two uniform vectors of which it learns the sum alone. So a coalition of all other
parties and whoever sums learns the last one's vector by subtraction, whatever hides it: noise is what answers that.

A dropout ends the attempt. Values are bounded by what the parties agreed on, so that a sum never wraps around.
"""

import hashlib
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from protocols.errors import InconsistentTotalsError, LayoutError, MaskError, OverflowRefusedError
from protocols.masks import SECRET_BYTES, add_party_stream

LARGEST_SUM: Final = (1 << 63) - 1
MAX_PARTIES: Final = 1024
MAX_PARAMETERS: Final = 1 << 28
MAX_STEPS: Final = 1 << 32
MAX_ATTEMPTS: Final = 1 << 16
CALL_BYTES: Final = 32

PAILLIER_CIPHERTEXTS: Final = 256
"""What a core encrypts in about half a second at 3072 bits; above it a vector of masked words is at hand far sooner."""

_STEP_TAG: Final = b"unseen:secure-sum:v1"


@dataclass(frozen=True, slots=True)
class SumTerms:
    """What all parties of one attempt at secure sums agree on; the streams are bound to every word of it.

    Args:
        call: the SHA-256 of the signed request, 32 bytes.
        attempt: 1 to 2^16.
        roster: the names of all parties, 2 to 1024, ascending and distinct.
        parameters: length of every vector, 1 to 2^28.
        bound: the largest absolute value that any party may put into a place of its vector, noise included; the
            number of parties times it is at most 2^63 - 1. Public: from declared bounds, never from values.

    Raises:
        MaskError: call, attempt or roster out of these limits.
        LayoutError: length or bound out of these limits.

    """

    call: bytes
    attempt: int
    roster: tuple[str, ...]
    parameters: int
    bound: int

    def __post_init__(self) -> None:
        if len(self.call) != CALL_BYTES:
            raise MaskError(f"a call is named by the {CALL_BYTES} bytes of its request's hash, not {len(self.call)}")
        if not 1 <= self.attempt <= MAX_ATTEMPTS:
            raise MaskError(f"attempt {self.attempt} is out of 1 to {MAX_ATTEMPTS}")
        if not 2 <= len(self.roster) <= MAX_PARTIES or list(self.roster) != sorted(set(self.roster)):
            raise MaskError(f"a roster is 2 to {MAX_PARTIES} distinct names in ascending order")
        if not 1 <= self.parameters <= MAX_PARAMETERS:
            raise LayoutError(f"{self.parameters} parameters are out of 1 to {MAX_PARAMETERS}")
        if not 1 <= self.bound <= LARGEST_SUM // len(self.roster):
            raise LayoutError(
                f"values up to {self.bound} of {len(self.roster)} parties are not sure to sum up within 63 bits"
            )

    @property
    def largest_sum(self) -> int:
        """The largest absolute value of a place of the sum."""
        return self.bound * len(self.roster)

    def stream_info(self, step: int, pair: tuple[str, str]) -> bytes:
        """Return what the stream of a pair, in either order, is bound to in one step: a hash of all that is agreed."""
        numbers = (self.attempt, self.parameters, self.bound, step)
        fields = [self.call, *(number.to_bytes(8, "big") for number in numbers), *_names(sorted(pair))]
        return _STEP_TAG + hashlib.sha256(b"".join(fields + _names(self.roster))).digest()


class SumParty:
    """One party's side of the secure sums of one attempt: it masks one vector a step, and never two with one stream.

    Make one for each set of pair secrets, and keep the secrets nowhere else. Steps ascend; a step is spent as soon as
    it is masked, whatever becomes of the vector. Thread-safe; refuses to work in a fork, and is never pickled or
    copied, since there the same steps would be masked again.
    """

    def __init__(self, terms: SumTerms, own: str, secrets: Mapping[str, bytes]) -> None:
        """Take part as `own` with one 32-byte pair secret (`masks.pair_secret`) for each other party of the roster.

        Raises MaskError where the secrets' names are not those of all others, or a secret has another length.
        """
        if own not in terms.roster or set(secrets) != set(terms.roster) - {own}:
            raise MaskError(
                f"{own} has pair secrets with {len(secrets)} parties, not with each of the other "
                f"{len(terms.roster) - 1} of the roster; masks would stay in the sum"
            )
        if any(len(secret) != SECRET_BYTES for secret in secrets.values()):
            raise MaskError(f"a pair secret has {SECRET_BYTES} bytes; make it with pair_secret")
        self._terms, self._own, self._secrets = terms, own, dict(secrets)
        self._next_step = 0
        self._process = os.getpid()
        self._lock = threading.Lock()

    def mask(self, step: int, values: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return a new, masked vector modulo 2^64; `values`, shape (parameters,), stays as it is.

        Args:
            step: 0 to 2^32 - 1, the same at all parties, above every step masked before.
            values: this party's part, noise included, within the agreed bound.

        Raises:
            LayoutError: the vector has another shape or type.
            OverflowRefusedError: a value is out of the bound; the step is not spent.
            MaskError: the step is spent, passed over or out of range, or this is a fork of the party's process.

        """
        _require_vector(values, np.dtype(np.int64), self._terms)
        if max(int(values.max()), -int(values.min())) > self._terms.bound:
            raise OverflowRefusedError("a value of the vector is out of the agreed bound; clip it before masking")
        self._spend(step)
        masked = np.array(values.view(np.uint64))
        add_party_stream(
            masked, self._secrets, self._own, lambda peer: self._terms.stream_info(step, (self._own, peer))
        )
        return masked

    def __reduce__(self) -> NoReturn:
        raise TypeError("a party's side of a secure sum stays in its process: its streams must not be used twice")

    def _spend(self, step: int) -> None:
        if os.getpid() != self._process:
            raise MaskError("this side of a secure sum belongs to another process, which may mask the same step")
        with self._lock:
            if not self._next_step <= step < MAX_STEPS:
                raise MaskError(
                    f"step {step} is spent or out of range: the next is {self._next_step} at least. One stream over "
                    "two vectors shows their difference; ask for another attempt with new keys"
                )
            self._next_step = step + 1


def sum_masked(vectors: Mapping[str, NDArray[np.uint64]], terms: SumTerms) -> NDArray[np.int64]:
    """Return the sum of all parties' vectors of one step, shape (parameters,).

    Args:
        vectors: party name to its masked vector, for exactly the roster.
        terms: what the parties agreed on.

    Raises:
        MaskError: the names are not those of the roster.
        LayoutError: a vector has another shape or type.
        InconsistentTotalsError: a place is out of what the parties' bounds allow: masks did not cancel. Masks that stay
            are found but for a chance of ((2 largest_sum + 1) / 2^64)^parameters.

    """
    if set(vectors) != set(terms.roster):
        missing = ", ".join(sorted(set(terms.roster) - set(vectors))) or "none"
        raise MaskError(
            f"vectors of {len(vectors)} parties where the roster has {len(terms.roster)}; missing: {missing}"
        )
    for vector in vectors.values():
        _require_vector(vector, np.dtype(np.uint64), terms)
    total = np.zeros(terms.parameters, np.uint64)
    for vector in vectors.values():
        total += vector
    signed = total.view(np.int64)
    # Not by absolute values: that of -2^63 is -2^63.
    if int(signed.max()) > terms.largest_sum or int(signed.min()) < -terms.largest_sum:
        raise InconsistentTotalsError("the sum is out of the agreed bounds: masks did not cancel, a party strayed")
    return signed


class SumMethod(Enum):
    """How vectors of several parties are summed."""

    MASKS = "masks"
    PAILLIER = "paillier"


def plan_sum(parameters: int, *, slots: int, stored: bool) -> SumMethod:
    """Return the method for a sum of vectors.

    Args:
        parameters: length of the vectors, at least 1.
        slots: values that one Paillier ciphertext holds in the layout at hand, at least 1.
        stored: whether contributions are kept and summed later, by weights or in other company: masks cancel only in
            the roster and the moment they were made for, so this takes Paillier at any length.

    The rule: Paillier for what is stored and for up to 256 ciphertexts, where it costs no more than the round's other
    work and leaves the sum to the key's owner alone; masks for all else. Raises LayoutError for numbers below 1.

    """
    if parameters < 1 or slots < 1:
        raise LayoutError(f"a sum of {parameters} parameters in slots of {slots} a ciphertext; both are at least 1")
    few = -(-parameters // slots) <= PAILLIER_CIPHERTEXTS
    return SumMethod.PAILLIER if stored or few else SumMethod.MASKS


def _require_vector(
    vector: NDArray[np.int64] | NDArray[np.uint64], dtype: np.dtype[np.generic], terms: SumTerms
) -> None:
    if vector.dtype != dtype or vector.shape != (terms.parameters,):
        raise LayoutError(
            f"a vector of shape {vector.shape} and type {vector.dtype}, where {terms.parameters} of {dtype} were agreed"
        )


def _names(names: Sequence[str]) -> list[bytes]:
    """Encode names so that no two lists give the same bytes."""
    encoded = [name.encode() for name in names]
    return [len(encoded).to_bytes(8, "big"), *(len(name).to_bytes(8, "big") + name for name in encoded)]
