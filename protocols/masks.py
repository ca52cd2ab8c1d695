"""Pairwise masks that hide one party's part and cancel in the sum over all parties.

Each pair of parties agrees on a secret by ephemeral X25519 (RFC 7748) and HKDF-SHA256 (RFC 5869). Both expand it to the
same masks, which the party with the smaller name adds and the other subtracts (after Bonawitz et al. 2017, section 4):
for every ciphertext a number modulo its n, or for a long vector of integers modulo 2^64 a keystream of words. Against
any coalition that misses two honest parties of the roster, the honest parties' parts are hidden up to their sum. Masks
keep nothing honest: a party that adds another mask spoils the sum. The public keys are authenticated by the caller
(signed offers); a pair key serves one call and attempt.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from numpy.typing import NDArray

from protocols.errors import MaskError
from protocols.keystream import KEY_BYTES, Keystream

PUBLIC_KEY_BYTES = 32
SECRET_BYTES = 32
STATISTICAL_BITS = 128
"""A mask's distance from uniform in Z_n is at most 2^-128, by reducing 128 bits more than n has."""

_PAIR_TAG = b"unseen:mask-pair:v1"
_MASK_TAG = b"unseen:mask:v1"
_STREAM_TAG = b"unseen:mask-stream:v1"
_CHUNK_WORDS = 1 << 14
"""Words of a stream made at once: 128 KiB, which stay in the processor's cache between AES and the addition."""
_MAXIMUM_EXPANSION = 255 * 32
"""Bytes that one HKDF-SHA256 expansion yields at most (RFC 5869, section 2.3)."""


def new_pair_key() -> tuple[X25519PrivateKey, bytes]:
    """Return a fresh private key, to be used for one call and attempt, and its 32 public bytes."""
    private = X25519PrivateKey.generate()
    return private, private.public_key().public_bytes_raw()


def pair_secret(private: X25519PrivateKey, peer_public: bytes, info: bytes) -> bytes:
    """Return the 32 secret bytes that this party shares with the peer; the same at both ends for the same `info`.

    Args:
        private: this party's ephemeral key.
        peer_public: the peer's 32 public bytes, from its signed offer.
        info: what the secret is bound to - request hash, roster, attempt, pair - in the same bytes at both ends.

    Raises:
        MaskError: the public key has another length, is this party's own, or is a point of small order (the shared
            secret would be all zero and known to everyone; RFC 7748, section 6.1).

    """
    own_public = private.public_key().public_bytes_raw()
    if len(peer_public) != PUBLIC_KEY_BYTES:
        raise MaskError(f"the peer's X25519 key has {len(peer_public)} bytes, not {PUBLIC_KEY_BYTES}; refuse its offer")
    if hmac.compare_digest(peer_public, own_public):
        raise MaskError("the peer's X25519 key is this party's own, sent back; refuse its offer")
    try:
        shared = private.exchange(X25519PublicKey.from_public_bytes(peer_public))
    except ValueError as error:  # the library refuses an all-zero shared secret
        raise MaskError("the peer's X25519 key is a point of small order; refuse its offer") from error
    # Both public keys go in, since X25519 accepts several encodings of one point.
    salt = hashlib.sha256(b"".join(sorted((own_public, peer_public)))).digest()
    return HKDF(SHA256(), SECRET_BYTES, salt, _PAIR_TAG + b"\x00" + info).derive(shared)


def mask(secret: bytes, index: int, modulus: int) -> int:
    """Return the pair's mask for ciphertext `index` (0 to 2^64-1): uniform in [0, modulus) up to 2^-128.

    Raises MaskError for a secret of another length, an index out of range, or a modulus too long for one expansion.
    """
    _require_secret(secret)
    if not 0 <= index < 1 << 64:
        raise MaskError(f"ciphertext index {index} is out of 0 to 2^64-1")
    width = (modulus.bit_length() + STATISTICAL_BITS + 7) // 8
    if modulus < 2 or width > _MAXIMUM_EXPANSION:
        raise MaskError(f"a modulus of {modulus.bit_length()} bits cannot be masked")
    info = _MASK_TAG + b"\x00" + index.to_bytes(8, "big") + width.to_bytes(8, "big")
    return int.from_bytes(HKDFExpand(SHA256(), width, info).derive(secret), "big") % modulus


def party_mask(secrets: Mapping[str, bytes], own: str, index: int, modulus: int) -> int:
    """Return what party `own` adds to ciphertext `index`, in [0, modulus).

    Args:
        secrets: peer name to pair secret, one for every other party of the roster.
        own: this party's name; it adds a pair's mask where its name sorts before the peer's, else subtracts it.
        index: position of the ciphertext in the part.
        modulus: n of the key.

    Over the roster these sum to 0 modulo `modulus`. Raises MaskError where `own` is among its own peers.

    """
    if own in secrets:
        raise MaskError(f"{own} is listed as its own peer; hand over the secrets shared with the other parties only")
    total = 0
    for peer, secret in secrets.items():
        pair = mask(secret, index, modulus)
        total += pair if own < peer else -pair
    return total % modulus


def add_party_stream(
    vector: NDArray[np.uint64], secrets: Mapping[str, bytes], own: str, info: Callable[[str], bytes]
) -> None:
    """Add to `vector`, in place, what party `own` adds to it modulo 2^64.

    Args:
        vector: contiguous words, shape (length,).
        secrets: peer name to pair secret, one for every other party of the roster.
        own: this party's name; it adds a pair's stream where its name sorts before the peer's, else subtracts it.
        info: from a peer's name, what that pair's stream is bound to, in the same bytes at both ends. A pair's stream
            is the same whenever the info is: two vectors masked with one show their difference. `secure_sum` sees to
            it that each is used once.

    Over the roster what is added sums to 0 modulo 2^64. Raises MaskError, before anything is added, for a secret of
    another length or where `own` is among its own peers.

    """
    if own in secrets:
        raise MaskError(f"{own} is listed as its own peer; hand over the secrets shared with the other parties only")
    streams = {peer: mask_stream(secret, info(peer)) for peer, secret in secrets.items()}
    for peer, stream in streams.items():
        combine = np.add if own < peer else np.subtract
        for start in range(0, vector.size, _CHUNK_WORDS):
            part = vector[start : start + _CHUNK_WORDS]
            combine(part, np.frombuffer(stream(8 * part.size), "<u8"), out=part)


def mask_stream(secret: bytes, info: bytes) -> Keystream:
    """Return the stream of a pair's masks modulo 2^64, little-endian words; MaskError for a secret of another length.

    AES-256-CTR under HKDF-Expand(secret, tag | 0 | info).
    """
    _require_secret(secret)
    return Keystream(HKDFExpand(SHA256(), KEY_BYTES, _STREAM_TAG + b"\x00" + info).derive(secret))


def _require_secret(secret: bytes) -> None:
    if len(secret) != SECRET_BYTES:
        raise MaskError(f"a pair secret has {SECRET_BYTES} bytes, this one {len(secret)}; make it with pair_secret")
