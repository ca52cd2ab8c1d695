"""Making a home: folder, keys, settings, and the enrolment request; at the regulator, the authority and directory 1.

And, later, installing what enrolment brings. Both go through the home's lock and leave either the old state or the new.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from audit.clock import Clock
from audit.directory import Directory, Role, sign_directory, verify_successor
from audit.errors import MalformedError
from audit.keys import KeyPurpose, SigningKey, VerifyingKey
from audit.names import LEGAL_ENTITY_PATTERN, check_domain, check_party_name, key_name
from parties.config import check_endpoint
from parties.enrol import DAY_MS, MAX_BUNDLE_BYTES, EnrolmentRequest, read_bundle, read_request, verify_bundle
from parties.entropy import SystemEntropy
from parties.errors import ConfigError, EnrolmentError, HomeError, UsageError
from parties.files import write_file
from parties.home import Home, no_passphrase
from parties.identity import CertificateAuthority, Subject, certificate_to_pem, generate_tls_key, key_to_pem, make_csr

DIRECTORY_DAYS: Final = 90
DEFAULT_DOMAIN: Final = "unseen.example"
SECRET: Final = 0o600
_NONCE_BYTES: Final = 16

_SETTINGS: Final = """\
# Settings of {name}, a {role} of {domain}. Made by `unseen init`.
# Environment variables (UNSEEN_LIMITS__SKEW_MS=60000) override this file, flags override both.

[party]
name = {name_toml}
role = {role_toml}
legal_entity = {legal_entity_toml}
domain = {domain_toml}

[network]
# What others dial. A change needs a new enrolment, since the directory tells it to everyone.
endpoint = {endpoint_toml}
# What the server binds, where that differs from the endpoint (behind NAT, in a container):
# listen = "0.0.0.0:7443"
# http_proxy = false
# reflection = false

[regulator]
# The root of trust, pinned by `unseen enrol accept`. Compare vkey with the regulator by telephone.
name = {regulator_toml}
endpoint = {regulator_endpoint_toml}
vkey = {vkey_toml}

[limits]
# message_bytes = 8388608
# skew_ms = 120000
# deadline_default_ms = 30000
# deadline_max_ms = 3600000
# threads = 32

# [compute]
# workers = 0            # processes for encryption; 0: one for each core, -1: none
# paillier_bits = 3072   # of the key that a merchant makes on first use

# [witness]
# policy = "witness.policy"   # who must cosign this party's log (c2sp.org/tlog-policy); default: the regulator
# max_silence_ms = 3600000    # calls are refused when the last cosigned checkpoint is older
# http = "0.0.0.0:7444"       # serve as a witness over HTTPS too (c2sp.org/tlog-witness)

[telemetry]
# log = "auto"           # auto, console or json; always on stderr
# level = "info"         # debug, info, warning or error
# metrics = "127.0.0.1:9464"
"""


@dataclass(frozen=True, slots=True)
class Founding:
    """What `unseen init` is told. `endpoint` is empty for a party that only dials out."""

    subject: Subject
    legal_entity: str
    endpoint: str

    def check(self) -> None:
        """Raise `UsageError` unless all of it is of its form, and a party that listens has an endpoint."""
        try:
            check_party_name(self.subject.party)
            check_domain(self.subject.domain)
        except MalformedError as error:
            raise UsageError(str(error)) from error
        if LEGAL_ENTITY_PATTERN.fullmatch(self.legal_entity) is None:
            raise UsageError(f"{self.legal_entity!r:.80} is no legal-entity code: up to 64 letters, digits and .:_-")
        if self.subject.role is not Role.MERCHANT and not self.endpoint:
            raise UsageError(f"a {self.subject.role.value} is dialled by others: give --endpoint HOST:PORT")
        if self.endpoint:
            try:
                check_endpoint(self.endpoint)
            except ConfigError as error:
                raise UsageError(f"--endpoint: {error}") from error


def found(path: Path, founding: Founding, *, passphrase: bytes | None, clock: Clock) -> Home:
    """Make a new home at `path`, its keys encrypted when there is a passphrase.

    A provider or merchant gets an enrolment request (`Home.request_path`); the regulator a certificate authority,
    its own certificate and version 1 of the directory.

    Raises:
        UsageError: as `Founding.check`.
        HomeError: the folder has something in it, or cannot be made.
    """
    founding.check()
    subject, now_ms = founding.subject, clock.now_ms()
    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise HomeError(f"{path} is not empty; a home is made in a new folder and never over another")
        (path / "keys").mkdir(mode=0o700)
    except OSError as error:
        raise HomeError(f"{path} cannot be made: {error.strerror}") from error
    keys = {
        purpose: SigningKey.generate(key_name(subject.party, subject.role, subject.domain, purpose))
        for purpose in KeyPurpose
    }
    tls_key = generate_tls_key()
    for purpose, key in keys.items():
        write_file(path / "keys" / f"{purpose.value}.pem", key.to_pem(passphrase), mode=SECRET)
    write_file(path / "keys" / "tls.pem", key_to_pem(tls_key, passphrase), mode=SECRET)
    if subject.role is Role.PROVIDER:
        (path / "catalog").mkdir()
    request = EnrolmentRequest(
        subject=subject,
        legal_entity=founding.legal_entity,
        endpoint=founding.endpoint,
        keys={purpose: key.verifying_key for purpose, key in keys.items()},
        csr=make_csr(tls_key, subject),
        created_at_ms=now_ms,
        nonce=SystemEntropy().token(_NONCE_BYTES).hex(),
    )
    vkey = ""
    if subject.role is Role.REGULATOR:
        vkey = keys[KeyPurpose.MESSAGE].verifying_key.vkey()
        _found_authority(path, request, tls_key, keys[KeyPurpose.MESSAGE], passphrase=passphrase, now_ms=now_ms)
    else:
        write_file(path / "enrolment-request.json", request.seal(keys).encode())
    # party.toml comes last: a folder that has it is a whole home.
    write_file(path / "party.toml", _settings(founding, vkey).encode())
    return Home.open(path, passphrase=no_passphrase if passphrase is None else lambda: passphrase)


def _found_authority(
    path: Path,
    request: EnrolmentRequest,
    tls_key: ec.EllipticCurvePrivateKey,
    key: SigningKey,
    *,
    passphrase: bytes | None,
    now_ms: int,
) -> None:
    subject = request.subject
    authority = CertificateAuthority.create(subject.domain, now_ms=now_ms)
    anchor = certificate_to_pem(authority.certificate)
    directory = Directory(
        domain=subject.domain,
        version=1,
        issued_at_ms=now_ms,
        expires_at_ms=now_ms + DIRECTORY_DAYS * DAY_MS,
        regulator=subject.party,
        parties=(request.record(now_ms),),
        trust_anchors=(anchor.decode("ascii"),),
    )
    write_file(path / "keys" / "ca.pem", authority.key_to_pem(passphrase), mode=SECRET)
    write_file(path / "ca.pem", anchor)
    certificate = authority.issue(tls_key.public_key(), subject, now_ms=now_ms)
    write_file(path / "certificate.pem", certificate_to_pem(certificate))
    write_file(path / "directory.dsse", sign_directory(directory, key).encode())


def _settings(founding: Founding, vkey: str) -> str:
    subject = founding.subject
    pinned = (subject.party, founding.endpoint, vkey) if vkey else ("", "", "")
    values: Mapping[str, str] = {
        "name": subject.party,
        "role": subject.role.value,
        "domain": subject.domain,
        "legal_entity": founding.legal_entity,
        "endpoint": founding.endpoint,
        **dict(zip(("regulator", "regulator_endpoint", "vkey"), pinned, strict=True)),
    }
    return _SETTINGS.format(**values, **{f"{name}_toml": _toml(value) for name, value in values.items()})


def _toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a TOML basic string has JSON's escapes


def accept(home: Home, data: bytes, *, regulator_vkey: str | None, clock: Clock) -> Directory:
    """Verify an enrolment bundle and install it: certificate, authorities, directory, the pinned regulator.

    Nothing is installed unless all of it is right. The same bundle may be accepted again.

    Raises:
        EnrolmentError: it is signed by another regulator than `regulator_vkey` or the one pinned before, or as
            `verify_bundle`.
        MalformedError, BadSignatureError, IdentityError, StaleDirectoryError: as `read_bundle` and `verify_bundle`.
        DirectoryConflictError: the directory takes back what the home's has said for good.
    """
    if home.role is Role.REGULATOR:
        raise EnrolmentError(f"{home.name} is the regulator: it signs bundles and accepts none")
    with home.writing():
        bundle, _ = read_bundle(data)
        _check_pin(bundle.key, regulator_vkey, "--regulator-vkey names", "ask the regulator; do not accept")
        pinned = home.config.regulator.vkey or None
        _check_pin(bundle.key, pinned, "party.toml pins", "a party belongs to one regulator; make a new home")
        request = read_request(home.read(home.request_path))
        held = None
        if pinned and home.directory_path.exists():
            held = home.directory(now_ms=0)  # at time 0 nothing has expired: only what it says counts
        minimum = 0 if held is None else held.version
        now_ms, skew_ms = clock.now_ms(), home.config.limits.skew_ms
        directory = verify_bundle(bundle, request, now_ms=now_ms, skew_ms=skew_ms, minimum_version=minimum)
        if held is not None and directory != held:
            verify_successor(held, directory)
        write_file(home.certificate_path, "".join(bundle.certificate).encode("ascii"))
        install_directory(home, bundle.directory, directory)
        settings = (home.path / "party.toml").read_text(encoding="utf-8")
        pin = {"name": bundle.regulator, "endpoint": bundle.endpoint, "vkey": bundle.key.vkey()}
        write_file(home.path / "party.toml", pin_regulator(settings, pin).encode())
    return directory


def _check_pin(key: VerifyingKey, wanted: str | None, where: str, what: str) -> None:
    if wanted is not None and VerifyingKey.parse(wanted.strip()) != key:
        raise EnrolmentError(f"the bundle is signed by {key.vkey()}, but {where} {wanted.strip()}: {what}")


def install_directory(home: Home, data: bytes, directory: Directory) -> None:
    """Write a verified directory and the authorities that it names. The caller holds the home's lock."""
    anchors = "".join(directory.trust_anchors).encode("ascii")
    if not home.anchors_path.exists() or home.anchors_path.read_bytes() != anchors:
        write_file(home.anchors_path, anchors)
    write_file(home.directory_path, data)


def pin_regulator(settings: str, pin: Mapping[str, str]) -> str:
    """Return the TOML text with `[regulator]` set to `pin`, everything else, comments included, as it was."""
    lines = settings.splitlines()
    starts = [index for index, line in enumerate(lines) if re.fullmatch(r"\s*\[\s*regulator\s*\]\s*(#.*)?", line)]
    if not starts:
        lines += ["", "[regulator]"]
        starts = [len(lines) - 1]
    start = starts[0] + 1
    end = next((index for index in range(start, len(lines)) if re.match(r"\s*\[", lines[index])), len(lines))
    kept = [line for line in lines[start:end] if not re.match(r"\s*(name|endpoint|vkey)\s*=", line)]
    while kept and not kept[-1].strip():
        kept.pop()
    values = [f"{key} = {_toml(value)}" for key, value in pin.items()]
    rest = ["", *lines[end:]] if end < len(lines) else []
    return "\n".join([*lines[:start], *kept, *values, *rest]) + "\n"


def read_bundle_file(path: Path) -> bytes:
    """Return a file of at most `MAX_BUNDLE_BYTES`; raise `UsageError` if it cannot be read or is larger."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BUNDLE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > MAX_BUNDLE_BYTES:
        raise UsageError(f"{path} is larger than any enrolment file ({MAX_BUNDLE_BYTES} bytes)")
    return data
