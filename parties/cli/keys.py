"""`unseen keys`: rotate one's own, and at the regulator sign rotations that came by file, and revoke."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated

import typer

from audit.clock import SystemClock
from audit.directory import MAX_DIRECTORY_BYTES, Directory, KeyStatus, verify_directory
from audit.envelope import Envelope, PayloadType
from audit.errors import MalformedError, RevokedKeyError, UnknownPartyError
from audit.keys import KeyPurpose, VerifyingKey
from audit.names import Role
from parties.cli.chinese import word
from parties.cli.contract_text import time_text
from parties.cli.keys_encrypt import encrypt
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
from parties.errors import HomeError, KeyChangeError, UsageError
from parties.files import write_file
from parties.founding import read_bundle_file
from parties.home import Home
from parties.identity import FINGERPRINT_PATTERN, fingerprint
from parties.issued_certificates import IssuedCertificates
from parties.key_room import open_key_room
from parties.own_keys import request_rotation, rotate_keys, use_listed_keys
from parties.registry_access import reach_registry
from parties.rotation import read_rotation
from parties.telemetry import beside_a_command, make_logger

app = typer.Typer(no_args_is_help=True, help="Keys over time: rotate, revoke, encrypt, look.")

PurposeOption = Annotated[
    list[KeyPurpose] | None, typer.Option("--purpose", help="Which keys; may be repeated. Default: all.")
]
RequestFile = Annotated[Path, typer.Argument(help="What `unseen keys rotate --out` wrote.", show_default=False)]


@app.command()
def rotate(
    purpose: PurposeOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the request to a file and ask nobody.", show_default=False)
    ] = None,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    json: JsonOption = False,
) -> None:
    """Replace this party's keys by new ones, or finish a rotation that was interrupted. Stop the party first."""
    opened = open_home(home, passphrase_file)
    purposes = frozenset(purpose or _rotatable(opened))
    if out is not None:
        directory = opened.directory(now_ms=0)
        write_file(out, request_rotation(opened, directory, purposes, SystemClock()))
        talk(
            say(
                "Bring it to the regulator, who runs unseen keys sign; then: unseen keys accept ANSWER",
                "请交给监管方，由其执行 unseen keys sign；收到答复后执行：unseen keys accept 答复文件",
            )
        )
        if opened.found_signing_key(KeyPurpose.MESSAGE) is None:
            talk(
                say(
                    "The message key is lost, so the regulator has to identify you first. It then runs unseen keys "
                    f"revoke {opened.name}, and unseen keys sign --replace-revoked.",
                    "消息私钥已丢失，监管方须先当面或电话核实身份，再执行 unseen keys revoke "
                    f"{opened.name}，并以 unseen keys sign --replace-revoked 签署。",
                )
            )
        emit_json({"request": str(out)}) if json else emit_text(str(out))
        return
    clock, logger = SystemClock(), make_logger(beside_a_command(opened.config.telemetry), opened.name)
    with open_key_room(opened, clock, logger, asking=purposes) as room:
        used = rotate_keys(opened, room, purposes, clock)
        version = room.directory().version
    _tell_used(opened, used, version, json=json)


def _rotatable(home: Home) -> Collection[KeyPurpose]:
    """All, but at the regulator the message key, which everybody has pinned."""
    return [item for item in KeyPurpose if home.role is not Role.REGULATOR or item is not KeyPurpose.MESSAGE]


def _tell_used(home: Home, used: Sequence[VerifyingKey], version: int, *, json: bool) -> None:
    if not used:
        raise KeyChangeError(
            f"version {version} of the directory lists none of the keys that {home.name} has asked for: is it the "
            "answer to this home's last request?"
        )
    talk(
        say(
            f"In use, by version {version} of the directory. Back the home up now: an older backup lacks these keys.",
            f"已启用，见名录第 {version} 版。请立即备份：较早的备份中没有这些密钥。",
        )
    )
    if json:
        emit_json({"name": home.name, "version": version, "keys": [key.vkey() for key in used]})
    else:
        emit_text("\n".join(key.vkey() for key in used))


@app.command()
def sign(
    request: RequestFile,
    out: Annotated[Path | None, typer.Option("--out", help="Where to write the answer.", show_default=False)] = None,
    replace_revoked: Annotated[
        bool,
        typer.Option(
            "--replace-revoked",
            help="The party's message key is revoked, and its officials were identified in person or by telephone.",
        ),
    ] = False,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    json: JsonOption = False,
) -> None:
    """At the regulator: list the keys of REQUEST; the answer is the new directory (default: ./NAME.directory.dsse)."""
    opened = _regulator(home, passphrase_file)
    data = _read_request(request)
    asked, _ = read_rotation(data)
    path = _writable(out if out is not None else Path(f"{asked.party}.directory.dsse"))
    if not replace_revoked:
        _expect_believed(opened, asked.party)
    with reach_registry(opened) as registry:
        answer = registry.rotate(data, replace_revoked=replace_revoked)
    write_file(path, answer)
    version = _version(opened, answer)
    talk(
        say(
            f"The keys of {asked.party} are listed in version {version} of the directory. It now runs:",
            f"{asked.party} 的密钥已列入名录第 {version} 版。请对方执行：",
        )
    )
    talk(f"  unseen keys accept {path}")
    emit_json({"answer": str(path), "name": asked.party, "version": version}) if json else emit_text(str(path))


def _expect_believed(home: Home, party: str) -> None:
    """Raise `KeyChangeError` where nobody is to believe the party's requests before its officials were identified."""
    try:
        home.directory(now_ms=0).party(party).key(KeyPurpose.MESSAGE)
    except RevokedKeyError as error:
        raise KeyChangeError(
            f"{error}. Identify its officials in person or by telephone, compare the keys with what unseen keys show "
            "says, and then: unseen keys sign --replace-revoked"
        ) from error


@app.command()
def accept(
    answer: Annotated[Path, typer.Argument(help="The directory that the regulator answered with.", show_default=False)],
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    json: JsonOption = False,
) -> None:
    """At the party: verify ANSWER and put the keys that it lists in use. Stop the party first."""
    opened = open_home(home, passphrase_file)
    data = read_bundle_file(answer)
    if _kind(answer, data) != PayloadType.DIRECTORY:
        raise UsageError(f"{answer} is no party directory; name what unseen keys sign wrote")
    clock, logger = SystemClock(), make_logger(beside_a_command(opened.config.telemetry), opened.name)
    with open_key_room(opened, clock, logger, answer=data) as room:
        used = (*room.settled, *use_listed_keys(opened, room))
        version = room.directory().version
    _tell_used(opened, used, version, json=json)


@app.command()
def revoke(
    party: Annotated[str, typer.Argument(help="Whose keys; none where certificates alone are revoked.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why; goes to the regulator's log.", show_default=False)] = "",
    purpose: PurposeOption = None,
    keyid: Annotated[
        list[str] | None, typer.Option("--keyid", help="One key, also a retired one; may be repeated.")
    ] = None,
    certificate: Annotated[
        list[str] | None,
        typer.Option("--certificate", help="A certificate's SHA-256, or a party: all of its. May be repeated."),
    ] = None,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    json: JsonOption = False,
) -> None:
    """At the regulator: have keys of PARTY believed no longer (default: its active ones), and certificates."""
    opened = _regulator(home, passphrase_file)
    if not reason:
        raise UsageError("--reason is missing: say why")
    directory = opened.directory(now_ms=0)
    if not party and (purpose or keyid or not certificate):
        raise UsageError("name the party whose keys are to be revoked, or a --certificate")
    keyids = [_listed(directory, party, named) for named in keyid or ()]
    if party and (purpose or not keyid):
        keyids += _active(directory, party, frozenset(purpose or KeyPurpose))
    fingerprints = sorted({item for named in certificate or () for item in _fingerprints(opened, directory, named)})
    with reach_registry(opened) as registry:
        version = _version(opened, registry.revoke(party, keyids, fingerprints, reason))
    if json:
        emit_json({"version": version, "keys": keyids, "certificates": fingerprints})
    else:
        emit_text("\n".join([*keyids, *fingerprints]))
    talk(
        say(
            f"Revoked in version {version} of the directory; parties hear of it within a minute. What the keys signed "
            "before, under a witnessed checkpoint, stays verifiable.",
            f"已在名录第 {version} 版中吊销，各方一分钟内获知。此前已由见证方确认的签名仍可验证。",
        )
    )


def _active(directory: Directory, party: str, purposes: Collection[KeyPurpose]) -> list[str]:
    keys = directory.party(party).keys
    found = [item.key.keyid for item in keys if item.status is KeyStatus.ACTIVE and item.purpose in purposes]
    if not found:
        raise KeyChangeError(f"{party} has no such active key: unseen keys list {party}")
    return found


def _listed(directory: Directory, party: str, keyid: str) -> str:
    if all(item.key.keyid != keyid for item in directory.party(party).keys):
        raise UsageError(
            f"--keyid {keyid:.150}: {party} has no such key on record; unseen keys list {party} shows them"
        )
    return keyid


def _fingerprints(home: Home, directory: Directory, named: str) -> list[str]:
    plain = re.sub("[:-]", "", named).lower()
    if FINGERPRINT_PATTERN.fullmatch(plain):
        return [plain]
    try:
        directory.party(named)
    except UnknownPartyError as error:
        raise UsageError(f"--certificate {named:.80}: neither a SHA-256 in hexadecimal nor a party") from error
    found = [fingerprint(held) for held in IssuedCertificates(home.path / "enrolled").of(named)]
    if not found:
        raise KeyChangeError(f"no certificate of {named} was issued here: name it by its SHA-256")
    return found


@app.command("list")
def list_keys(
    party: Annotated[str, typer.Argument(help="Whose keys; default: everybody's.")] = "",
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """List the keys on record, by the newest directory of this home."""
    directory = open_home(home).directory(now_ms=0)
    records = [directory.party(party)] if party else directory.parties
    keys = [(record.name, item) for record in records for item in record.keys]
    if json:
        emit_json({"version": directory.version, "keys": [{"party": name, **item.to_json()} for name, item in keys]})
        return
    headers = [say("party", "参与方"), say("purpose", "用途"), say("status", "状态"), say("since", "启用")]
    emit_table(
        [*headers, say("until", "终止"), say("key", "密钥")],
        [
            [
                name,
                word(item.purpose),
                word(item.status),
                time_text(item.since_ms),
                "" if item.until_ms is None else time_text(item.until_ms),
                item.key.keyid,
            ]
            for name, item in keys
        ],
    )


@app.command()
def show(request: RequestFile, json: JsonOption = False) -> None:
    """Verify what the new keys of a rotation request prove, and show them, to be compared by telephone."""
    asked, envelope = read_rotation(_read_request(request))
    keys = {item.value: key.vkey() for item, key in asked.keys.items()}
    signers = [line.keyid for line in envelope.signatures]
    if json:
        shown = {"name": asked.party, "version": asked.version, "created_at_ms": asked.created_at_ms}
        emit_json({**shown, "keys": keys, "signed_by": signers})
        return
    rows = [
        [say("party", "参与方"), asked.party],
        [say("made", "生成时间"), time_text(asked.created_at_ms)],
        [say("against version", "依据名录版本"), str(asked.version)],
        *([word(item), asked.keys[item].vkey()] for item in asked.keys),
        *([say("signature line by", "签名"), keyid] for keyid in signers),
    ]
    emit_table([say("field", "项目"), say("value", "内容")], rows)


app.command()(encrypt)


def _regulator(home: Path | None, passphrase_file: Path | None) -> Home:
    opened = open_home(home, passphrase_file)
    if opened.role is not Role.REGULATOR:
        raise HomeError(f"{opened.name} is a {opened.role.value}; that is for the regulator: name its --home")
    return opened


def _read_request(path: Path) -> bytes:
    data = read_bundle_file(path)
    if _kind(path, data) != PayloadType.KEY_ROTATION:
        raise UsageError(f"{path} is no rotation request; name what unseen keys rotate --out wrote")
    return data


def _kind(path: Path, data: bytes) -> str:
    try:
        return Envelope.decode(data, limit=MAX_DIRECTORY_BYTES).payload_type
    except MalformedError as error:
        raise UsageError(f"{path} cannot be read ({error})") from error


def _writable(path: Path) -> Path:
    if not path.parent.is_dir():
        raise UsageError(f"--out: there is no folder {path.parent}: make it, or name another; nothing was signed")
    return path


def _version(home: Home, directory: bytes) -> int:
    return verify_directory(directory, home.regulator_key(), now_ms=0).version
