"""A home's TLS key and certificate: two files that change together, under readers that do not wait.

The next key lies beside the current one until its certificate has come. The certificate is put into its place first and
then its key, each all or nothing. In between, and after a crash there, the certificate's key is the next one, which
is where `Home.tls` looks too.
"""

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from audit.directory import Directory
from parties.errors import IdentityError
from parties.files import sync_folder, write_file
from parties.home import Home
from parties.identity import (
    certificate_from_pem,
    certificate_to_pem,
    check_certificate,
    generate_tls_key,
    key_from_pem,
    key_to_pem,
)

_SECRET = 0o600


def next_tls_key(home: Home) -> ec.EllipticCurvePrivateKey:
    """Return the home's next TLS key: made now, or earlier by a renewal that was not finished.

    A renewal that a crash interrupted between certificate and key is finished first.
    """
    with home.writing():
        _finish(home)
        if home.next_tls_path.exists():
            return _load(home, home.next_tls_path.name)
        key = generate_tls_key()
        write_file(home.next_tls_path, key_to_pem(key, home.passphrase_for_new_keys()), mode=_SECRET)
        return key


def install_certificate(home: Home, pem: bytes, directory: Directory, *, now_ms: int) -> x509.Certificate:
    """Verify a certificate and put it, and the next TLS key, into their places. Installing it again changes nothing.

    Raises:
        IdentityError: it is not this party's, not by an authority of the directory, not valid at `now_ms`, or for
            another key than the home's next or present one. Nothing was installed.
    """
    certificate = certificate_from_pem(pem)
    anchors = tuple(certificate_from_pem(anchor.encode("ascii")) for anchor in directory.trust_anchors)
    check_certificate(certificate, directory.party(home.name), anchors, now_ms=now_ms)
    with home.writing():
        _finish(home)
        names = [*([home.next_tls_path.name] if home.next_tls_path.exists() else []), "tls.pem"]
        # The next key first: what it replaces may be lost, and is then not looked for.
        if all(_load(home, name).public_key() != certificate.public_key() for name in names):
            raise IdentityError(
                f"the certificate is for no TLS key of {home.name}'s home: it answers another request; make one again"
            )
        write_file(home.certificate_path, certificate_to_pem(certificate))
        _finish(home)
    return certificate


def _finish(home: Home) -> None:
    """Put the next key into its place if the certificate is for it. The caller holds the home's lock."""
    if not home.next_tls_path.exists():
        return
    wanted = certificate_from_pem(home.read(home.certificate_path)).public_key()
    if _load(home, home.next_tls_path.name).public_key() == wanted:
        home.next_tls_path.replace(home.keys / "tls.pem")
        sync_folder(home.keys)


def _load(home: Home, name: str) -> ec.EllipticCurvePrivateKey:
    return key_from_pem(home.read(home.keys / name), home.passphrase, where=f"the TLS key {name} of {home.name}")
