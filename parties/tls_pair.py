"""This party's TLS key and certificate into Python's ssl, which takes keys from files only."""

from __future__ import annotations

import secrets
import ssl
import tempfile

from parties.home import TlsMaterial
from parties.identity import key_from_pem, key_to_pem


def load_pair(context: ssl.SSLContext, tls: TlsMaterial) -> None:
    """Load key and certificate through a file that holds the key encrypted, under a passphrase that is nowhere else.

    Raises:
        OSError: the file cannot be written; as `ssl.SSLError`, they do not belong together.
    """
    once = secrets.token_hex(32).encode("ascii")
    key = key_to_pem(key_from_pem(tls.key, None, where="the TLS key"), once)
    with tempfile.NamedTemporaryFile(prefix="unseen-") as file:
        file.write(key + tls.certificate)
        file.flush()
        context.load_cert_chain(file.name, password=once)
