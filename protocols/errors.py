"""Everything that the protocols raise: one tree.

A check raises one of these or returns None. Messages name sizes, positions and limits, never a secret or a plaintext.
"""


class ProtocolError(Exception):
    """Anything that a protocol refuses; catch this to catch all of them."""


class BadKeyError(ProtocolError):
    """A private key, or a use of a key, is wrong (not primes, too short, scheme not declared, undecodable JWK)."""


class BadModulusError(ProtocolError):
    """A foreign public key's modulus failed a check of `paillier_checks.check_public_key`."""


class BadCiphertextError(ProtocolError):
    """A ciphertext is out of (0, n^2), shares a factor with n, or its encoding has another length than agreed."""


class OverflowRefusedError(ProtocolError):
    """A value lies outside of what was declared for it; nothing was computed."""


class LayoutError(ProtocolError):
    """Declared bounds, number of cells or key length admit no layout, or a vector has another shape than the layout."""


class InconsistentTotalsError(ProtocolError):
    """What decrypts cannot be a sum of the parties' parts: a part is missing or foreign, or masks did not cancel."""


class MaskError(ProtocolError):
    """A pairwise mask cannot be agreed or would not cancel (bad public key, wrong roster)."""


class NoiseError(ProtocolError):
    """Noise for a private release cannot be drawn as asked: a variance, a count or the shares are out of limits."""


class FixedPointError(ProtocolError):
    """A number is no plain decimal, or is not exact at the declared decimals."""


class StatisticError(ProtocolError):
    """A statistic's arguments do not fit together (sums, positions, edges, a probability); it is never about rows."""


class BatchCancelledError(ProtocolError):
    """Whoever asked for a batch gave it up before its end; what was computed is dropped."""

    def __init__(self, done: int, total: int) -> None:
        super().__init__(f"given up after {done} of {total} items, as asked")


class PrivacyCostError(ProtocolError):
    """A privacy cost, a budget or an epsilon is unknown, malformed or out of its limits; nothing was charged."""


class BudgetExhaustedError(ProtocolError):
    """A spend would leave every order of the privacy filter over its bound; nothing was charged."""
