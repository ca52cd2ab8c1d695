"""`unseen enrol`: the regulator signs a request, the party accepts the bundle, anyone looks into either file."""

from pathlib import Path
from typing import Annotated

import typer
from unseen.v1 import directory_pb2, directory_pb2_grpc

from audit.clock import SystemClock
from audit.directory import Directory, verify_directory
from audit.envelope import Envelope, PayloadType
from audit.errors import MalformedError
from audit.keys import VerifyingKey
from audit.names import Role
from parties.channel import Dialler
from parties.cli.output import (
    HomeOption,
    JsonOption,
    PassphraseOption,
    emit_json,
    emit_table,
    emit_text,
    open_home,
    say,
    talk,
)
from parties.enrol import MAX_BUNDLE_BYTES, EnrolmentRequest, read_bundle, read_request
from parties.errors import HomeError, UsageError
from parties.files import write_file
from parties.founding import accept as accept_bundle
from parties.founding import read_bundle_file
from parties.home import Home
from parties.identity import certificate_from_pem, fingerprint, spiffe_id_of
from parties.telemetry import beside_a_command, make_logger

app = typer.Typer(no_args_is_help=True, help="Join a federation by files: request, sign, accept.")
File = Annotated[Path, typer.Argument(help="An enrolment request or bundle.", show_default=False)]
RequestFile = Annotated[Path, typer.Argument(help="The party's enrolment-request.json.", show_default=False)]
BundleFile = Annotated[Path, typer.Argument(help="What the regulator answered: NAME.bundle.json.", show_default=False)]


@app.command()
def sign(
    request: RequestFile,
    out: Annotated[Path | None, typer.Option("--out", help="Where to write the bundle.", show_default=False)] = None,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    json: JsonOption = False,
) -> None:
    """At the regulator: enrol the party of REQUEST and write its bundle (default: ./NAME.bundle.json)."""
    opened = open_home(home, passphrase_file)
    if opened.role is not Role.REGULATOR:
        raise HomeError(f"{opened.name} is a {opened.role.value}; the regulator signs enrolments: name its --home")
    data = read_bundle_file(request)
    _expect(request, data, PayloadType.ENROLMENT)
    asked, _ = read_request(data)
    path = out if out is not None else Path(f"{asked.subject.party}.bundle.json")
    if not path.parent.is_dir():
        raise UsageError(f"--out: there is no folder {path.parent}: make it, or name another; nothing was signed")
    bundle = _enrol(opened, data)
    write_file(path, bundle)
    directory = _directory_of(bundle)
    name = asked.subject.party
    for other in directory.parties:
        if other.name != name and other.endpoint and other.endpoint == asked.endpoint:
            talk(
                say(
                    f"Note: {other.name} has the same endpoint {other.endpoint}; only one of the two can be reached",
                    f"注意：{other.name} 的地址也是 {other.endpoint}，两者只能连到一个",
                )
            )
    talk(
        say(
            f"{name} is enrolled, in version {directory.version} of the directory. It now runs:",
            f"{name} 已入册，名录第 {directory.version} 版。请对方执行：",
        )
    )
    talk(f"  unseen enrol accept {path} --regulator-vkey '{opened.config.regulator.vkey}'")
    if json:
        emit_json({"bundle": str(path), "version": directory.version, **_described(asked)})
    else:
        emit_text(str(path))


def _enrol(home: Home, request: bytes) -> bytes:
    """Enrol through the running server, which holds the ledger, or else directly."""
    if home.is_served():
        clock = SystemClock()
        dialler = Dialler(home, lambda: home.directory(now_ms=clock.now_ms()))
        try:
            channel = dialler.dial(home.name)
            stub = directory_pb2_grpc.DirectoryServiceStub(channel.channel)
            return channel.call(stub.Enrol, directory_pb2.EnrolRequest(envelope=request)).bundle
        finally:
            dialler.close()
    from parties.regulator import Regulator  # noqa: PLC0415  (heavy, and needed only here)

    regulator = Regulator.open(home, logger=make_logger(beside_a_command(home.config.telemetry), home.name))
    try:
        return regulator.enrol(request)
    finally:
        regulator.close()


@app.command()
def accept(
    bundle: BundleFile,
    regulator_vkey: Annotated[
        str | None,
        typer.Option("--regulator-vkey", help="The regulator's key as it told you itself.", show_default=False),
    ] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """At the party: verify BUNDLE and install certificate, directory and the pinned regulator."""
    opened = open_home(home)
    first = not opened.config.regulator.vkey
    if regulator_vkey is not None:
        try:
            VerifyingKey.parse(regulator_vkey.strip())
        except MalformedError as error:
            raise UsageError(f"--regulator-vkey: {error}") from error
    data = read_bundle_file(bundle)
    _expect(bundle, data, PayloadType.ENROLMENT_BUNDLE)
    directory = accept_bundle(opened, data, regulator_vkey=regulator_vkey, clock=SystemClock())
    pinned = read_bundle(data)[0].key.vkey()
    if first and regulator_vkey is None:
        talk(f"The regulator {directory.regulator} was believed at first sight. Compare its key with it by telephone:")
        talk(f"  {pinned}")
    names = [party.name for party in directory.parties]
    if json:
        accepted = {"name": opened.name, "regulator": directory.regulator, "vkey": pinned}
        emit_json({**accepted, "version": directory.version, "parties": names})
    else:
        talk(f"{opened.name} has joined {directory.domain}; the directory's version {directory.version} lists:")
        emit_table(
            [say("party", "参与方"), say("role", "角色")],
            [[party.name, party.role.value] for party in directory.parties],
        )


@app.command()
def show(file: File, json: JsonOption = False) -> None:
    """Verify an enrolment request or bundle and show what it says."""
    data = read_bundle_file(file)
    kind = _kind(file, data)
    if kind == PayloadType.ENROLMENT:
        described = _described(read_request(data)[0])
    elif kind == PayloadType.ENROLMENT_BUNDLE:
        described = _described_bundle(data)
    else:
        raise UsageError(f"{file} is no enrolment file but {kind}")
    if json:
        emit_json(described)
    else:
        emit_table(
            [say("field", "项目"), say("value", "内容")], [[_label(key), value] for key, value in described.items()]
        )


def _kind(path: Path, data: bytes) -> str:
    try:
        return Envelope.decode(data, limit=MAX_BUNDLE_BYTES).payload_type
    except MalformedError as error:
        raise UsageError(f"{path} is no enrolment file ({error}): name a request or a bundle") from error


def _expect(path: Path, data: bytes, wanted: PayloadType) -> None:
    names = {PayloadType.ENROLMENT: "an enrolment request", PayloadType.ENROLMENT_BUNDLE: "an enrolment bundle"}
    kind = _kind(path, data)
    if kind != wanted:
        is_one = next((name for known, name in names.items() if kind == known), kind)
        raise UsageError(f"{path} is {is_one}; {names[wanted]} is wanted here")


def _described(request: EnrolmentRequest) -> dict[str, str]:
    return {
        "name": request.subject.party,
        "role": request.subject.role.value,
        "legal_entity": request.legal_entity,
        "domain": request.subject.domain,
        "endpoint": request.endpoint,
        "spiffe_id": request.subject.spiffe_id,
        **{f"{purpose.value}_vkey": key.vkey() for purpose, key in request.keys.items()},
    }


def _described_bundle(data: bytes) -> dict[str, str]:
    bundle, _ = read_bundle(data)
    certificate = certificate_from_pem(bundle.certificate[0].encode("ascii"))
    directory = _directory_of(data)
    return {
        "spiffe_id": spiffe_id_of(certificate),
        "certificate": fingerprint(certificate),
        "valid_until": f"{certificate.not_valid_after_utc:%Y-%m-%d}",
        "domain": directory.domain,
        "regulator": bundle.regulator,
        "endpoint": bundle.endpoint,
        "regulator_vkey": bundle.key.vkey(),
        "version": str(directory.version),
        "parties": ", ".join(party.name for party in directory.parties),
    }


def _directory_of(bundle: bytes) -> Directory:
    read, _ = read_bundle(bundle)
    return verify_directory(read.directory, read.key, now_ms=0)  # shown also when it has expired


_CHINESE = {
    "name": "名称",
    "role": "角色",
    "legal_entity": "统一社会信用代码",
    "domain": "域",
    "endpoint": "地址",
    "spiffe_id": "身份标识",
    "log_vkey": "账本公钥",
    "message_vkey": "消息公钥",
    "witness_vkey": "见证公钥",
    "certificate": "证书指纹",
    "valid_until": "有效期至",
    "regulator": "监管方",
    "regulator_vkey": "监管方公钥",
    "version": "名录版本",
    "parties": "参与方",
}


def _label(key: str) -> str:
    return say(key.replace("_", " "), _CHINESE[key])
