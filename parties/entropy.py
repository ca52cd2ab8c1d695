"""The operating system's random source, behind the sandbox's port."""

import secrets


class SystemEntropy:
    """Cryptographically secure random bytes."""

    __slots__ = ()

    def token(self, nbytes: int) -> bytes:
        """Return `nbytes` fresh, uniformly random bytes."""
        return secrets.token_bytes(nbytes)
