"""`unseen certificate`: renew one's TLS certificate, over the network or by files."""

from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509

from audit.clock import SystemClock
from audit.names import Role
from parties.certificate_files import install_certificate
from parties.certificate_renewal import (
    MAX_RENEWAL_BYTES,
    ask_for_certificate,
    check_issuer,
    read_renewal,
    renew_certificate,
)
from parties.cli.output import (
    HomeOption,
    JsonOption,
    PassphraseOption,
    emit_json,
    emit_text,
    open_home,
    say,
    talk,
    waiting,
)
from parties.errors import HomeError, IdentityError, UsageError
from parties.files import write_file
from parties.founding import read_bundle_file
from parties.home import Home
from parties.identity import MAX_PEM_BYTES, certificate_from_pem, fingerprint
from parties.registry_access import reach_registry

app = typer.Typer(no_args_is_help=True, help="The TLS certificate: renew it before it expires. Parties at work do.")


@app.command()
def renew(
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the request to a file and ask nobody.", show_default=False)
    ] = None,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    json: JsonOption = False,
) -> None:
    """Obtain a certificate for a new TLS key, and go over to both. A running server notices by itself."""
    opened, clock = open_home(home, passphrase_file), SystemClock()
    directory = opened.directory(now_ms=0)
    if out is not None:
        check_issuer(opened, directory)
        write_file(out, ask_for_certificate(opened, clock))
        talk(
            say(
                "Bring it to the regulator, who runs unseen certificate sign; then: unseen certificate accept ANSWER",
                "请交给监管方，由其执行 unseen certificate sign；收到答复后执行：unseen certificate accept 答复文件",
            )
        )
        emit_json({"request": str(out)}) if json else emit_text(str(out))
        return
    regulator = directory.regulator
    asked = say(f"Waiting for {regulator} to issue a certificate", f"正在等待 {regulator} 签发证书")
    with reach_registry(opened) as registry:

        def issue(request: bytes) -> bytes:
            with waiting(asked):
                return registry.renew_certificate(request)

        renewed = renew_certificate(opened, directory, issue, clock)
    _tell(opened, renewed, json=json)


@app.command()
def sign(
    request: Annotated[Path, typer.Argument(help="What `unseen certificate renew --out` wrote.", show_default=False)],
    out: Annotated[Path | None, typer.Option("--out", help="Where to write the answer.", show_default=False)] = None,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    json: JsonOption = False,
) -> None:
    """At the regulator: issue the certificate that REQUEST asks for (default: ./NAME.certificate.pem)."""
    opened = open_home(home, passphrase_file)
    if opened.role is not Role.REGULATOR:
        raise HomeError(f"{opened.name} is a {opened.role.value}; the regulator issues certificates: name its --home")
    data = _read(request, MAX_RENEWAL_BYTES)
    asked, _ = read_renewal(data)
    path = out if out is not None else Path(f"{asked.party}.certificate.pem")
    if not path.parent.is_dir():
        raise UsageError(f"--out: there is no folder {path.parent}: make it, or name another; nothing was signed")
    with reach_registry(opened) as registry:
        write_file(path, registry.renew_certificate(data))
    talk(say(f"{asked.party} now runs:", f"请 {asked.party} 执行："))
    talk(f"  unseen certificate accept {path}")
    emit_json({"answer": str(path), "name": asked.party}) if json else emit_text(str(path))


@app.command()
def accept(
    answer: Annotated[Path, typer.Argument(help="The certificate that the regulator issued.", show_default=False)],
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    json: JsonOption = False,
) -> None:
    """At the party: verify ANSWER and go over to it and its TLS key."""
    opened, clock = open_home(home, passphrase_file), SystemClock()
    directory = opened.directory(now_ms=0)
    pem = _read(answer, MAX_PEM_BYTES)
    try:
        certificate_from_pem(pem)
    except IdentityError:
        raise IdentityError(f"{answer} holds no certificate: give what `unseen certificate sign` wrote") from None
    renewed = install_certificate(opened, pem, directory, now_ms=clock.now_ms())
    _tell(opened, renewed, json=json)


def _read(path: Path, limit: int) -> bytes:
    data = read_bundle_file(path)
    if len(data) > limit:
        raise UsageError(f"{path} is larger than any such file ({limit} bytes)")
    return data


def _tell(home: Home, certificate: x509.Certificate, *, json: bool) -> None:
    until = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
    talk(
        say(
            f"The certificate of {home.name} is valid until {until}. Back the home up now.",
            f"{home.name} 的证书有效期至 {until}。请立即备份。",
        )
    )
    if json:
        emit_json({"name": home.name, "certificate": fingerprint(certificate), "valid_until": until})
    else:
        emit_text(fingerprint(certificate))
