"""`unseen witness`: the logs that this party has cosigned, the evidence it keeps, and who cosigns its own log."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from audit.canonical import JsonObject
from audit.checkpoint import Checkpoint, Note
from audit.errors import AuditError
from audit.evidence import Evidence
from audit.ledger import open_reader
from audit.policy import NONE, Policy, printable
from audit.verify import LEDGER_FILE
from audit.witness import WitnessedLog
from audit.witness_store import WitnessStore
from parties.cli.chinese import word
from parties.cli.output import HomeOption, JsonOption, emit_json, emit_table, emit_text, open_home, say, talk
from parties.errors import NotFoundError, UsageError
from parties.home import Home
from parties.witness_policy import default_policy, named_witnesses, read_policy

app = typer.Typer(no_args_is_help=True, help="Witnessing: logs cosigned, evidence kept, and this party's own policy.")

SHOWN: Final = 12
"""Characters of an identifier that a table and a file's name show."""

LogArgument = Annotated[str, typer.Argument(metavar="PARTY|ORIGIN", help="A party's name, or its log's origin.")]


@app.command("list")
def list_logs(home: HomeOption = None, json: JsonOption = False) -> None:
    """List the logs that this party witnesses: the latest checkpoint cosigned, entries kept, evidence."""
    opened = open_home(home)
    with _records(opened) as store:
        found = [(log, len(store.evidence(log.origin))) for log in store.logs()] if store is not None else []
    kept = _kept(opened)
    if json:
        emit_json({"logs": [_described(log, kept, evidence) for log, evidence in found]})
        return
    headers = [say("log", "账本"), say("size", "条目数"), say("cosigned (UTC)", "见证时间（UTC）")]
    headers += [say("kept", "已存条目"), say("evidence", "证据")]
    rows = [
        [log.origin, str(log.size), _time(log.cosigned_s), str(kept.get(log.origin, 0)), str(evidence)]
        for log, evidence in found
    ]
    emit_table(headers, rows)


@app.command()
def checkpoint(
    log: LogArgument,
    out: Annotated[Path | None, typer.Option("--out", help="The file to write.", show_default=False)] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Give the latest checkpoint of a log that this party cosigned: for `unseen ledger verify --witness-checkpoint`."""
    with _records(open_home(home)) as store:
        found = _find(store, log)
    if out is not None:
        _write(out, found.note)
    if json:
        emit_json(
            {**_described(found, {}, None), "note": found.note.decode()} | ({} if out is None else {"file": str(out)})
        )
    elif out is not None:
        emit_text(str(out))
    else:
        sys.stdout.write(found.note.decode())  # to the byte, as it may be read again


@app.command()
def evidence(
    log: Annotated[
        str, typer.Argument(metavar="[PARTY|ORIGIN]", help="Whose log; default: every one.", show_default=False)
    ] = "",
    out: Annotated[
        Path | None, typer.Option("--out", help="A folder: both notes of each are written there.", show_default=False)
    ] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Show what this party refused to cosign, and keeps: two checkpoints of one log, both with the log's signature.

    "forked" proves that the log signed two histories.

    "shrunk" is a suspicion: fewer entries than before; it may have come late.
    """
    with _records(open_home(home)) as store:
        logs = [_find(store, log)] if log else list(store.logs() if store is not None else ())
        found = [each for kept in logs for each in (store.evidence(kept.origin) if store is not None else ())]
    if log and not found:
        raise NotFoundError(say(f"nothing is kept against {logs[0].origin}", f"没有留存针对 {logs[0].origin} 的证据"))
    files = [file for each in found for file in _write_evidence(out, each)] if out is not None else []
    if json:
        emit_json({"evidence": [_evidence(each) for each in found], "files": [str(file) for file in files]})
        return
    if files:
        emit_text("\n".join(map(str, files)))
        return
    headers = [say("evidence", "证据"), say("log", "账本"), say("what", "性质"), say("held", "已见证条目数")]
    headers += [say("offered", "被拒条目数"), say("refused (UTC)", "拒绝时间（UTC）")]
    emit_table(headers, [_evidence_row(each) for each in found])
    for each in found if log else ():
        talk(say(f"{each.digest[:SHOWN]}: held", f"{each.digest[:SHOWN]}：已见证"))
        talk(each.held.decode("utf-8", "replace"))
        talk(say(f"{each.digest[:SHOWN]}: offered", f"{each.digest[:SHOWN]}：被拒"))
        talk(each.offered.decode("utf-8", "replace"))


@app.command()
def policy(home: HomeOption = None, json: JsonOption = False) -> None:
    """Show who must cosign this party's log. Exit 2, with the line, where its policy file is wrong."""
    opened = open_home(home)
    directory = opened.directory(now_ms=0)  # an expired one still has the keys
    written = read_policy(opened)
    chosen = written or default_policy(opened.name, directory)
    asked = {each.key: each.url or each.party for each in named_witnesses(chosen, opened.name, directory)}
    source = str(opened.policy_path) if written else "default"
    witnesses: list[JsonObject] = [
        {
            "name": printable(name),
            "vkey": each.key.vkey(),
            "asked_at": printable(asked.get(each.key, "")),
        }
        for name, each in chosen.witnesses.items()
    ]
    groups: list[JsonObject] = [
        {"name": printable(name), "threshold": each.threshold, "members": [printable(one) for one in each.members]}
        for name, each in chosen.groups.items()
    ]
    if json:
        emit_json({"source": source, "quorum": printable(chosen.quorum), "witnesses": witnesses, "groups": groups})
        return
    talk(_summary(chosen, source))
    emit_table(
        [say("witness", "见证方"), say("asked at", "请求地址"), say("key", "公钥")],
        [[str(each["name"]), str(each["asked_at"]) or "-", str(each["vkey"])] for each in witnesses],
    )
    for name in (str(each["name"]) for each in witnesses if not each["asked_at"]):
        talk(
            say(
                f"{name} cannot be asked: it is no party of the directory, and the policy gives no URL for it",
                f"无法请求 {name}：它不是名录中的参与方，策略中也没有它的 URL",
            )
        )


def _summary(chosen: Policy, source: str) -> str:
    where = say("by default", "按默认") if source == "default" else say(f"by {source}", f"按 {source}")
    if chosen.quorum == NONE:
        return say(f"No cosignature is needed, {where}", f"{where}，无须任何见证方签名")
    members = chosen.groups.get(chosen.quorum)
    if members is None:
        name = printable(chosen.quorum)
        return say(f"{name} must cosign, {where}", f"{where}，须有 {name} 的见证签名")
    names = ", ".join(printable(one) for one in members.members)
    return say(
        f"{members.threshold} of {names} must cosign, {where}",
        f"{where}，{names} 中须有 {members.threshold} 个见证签名",
    )


@contextmanager
def _records(home: Home) -> Iterator[WitnessStore | None]:
    """The home's records as a witness, also while it is running; None where it has witnessed nothing."""
    if not home.witness_path.exists():
        yield None
        return
    store = WitnessStore.open(home.witness_path)
    try:
        yield store
    finally:
        store.close()


def _find(store: WitnessStore | None, wanted: str) -> WitnessedLog:
    logs = store.logs() if store is not None else ()
    found = [log for log in logs if log.origin == wanted] or [
        log for log in logs if log.origin.startswith(f"{wanted}.")
    ]
    if not found:
        raise NotFoundError(
            say(
                f"nothing of {wanted!r:.100} was cosigned here: `unseen witness list` shows what was",
                f"此处没有见证过 {wanted!r:.100}：用 `unseen witness list` 查看已见证的账本",
            )
        )
    if len(found) > 1:
        raise UsageError(f"{wanted} is the beginning of several logs ({', '.join(log.origin for log in found)[:200]})")
    return found[0]


def _kept(home: Home) -> dict[str, int]:
    """Origin -> how many of its entries are kept here."""
    sizes: dict[str, int] = {}
    for path in sorted(home.replicas.glob(f"*/{LEDGER_FILE}")):
        reader = open_reader(path)
        try:
            if reader.size:
                sizes[reader.genesis().origin] = reader.size
        finally:
            reader.close()
    return sizes


def _described(log: WitnessedLog, kept: Mapping[str, int], evidence: int | None) -> JsonObject:
    described: JsonObject = {
        "origin": log.origin,
        "size": log.size,
        "root": log.root.hex(),
        "cosigned_s": log.cosigned_s,
    }
    return described if evidence is None else {**described, "kept": kept.get(log.origin, 0), "evidence": evidence}


def _evidence(each: Evidence) -> JsonObject:
    return {
        "digest": each.digest,
        "origin": each.origin,
        "misbehaviour": each.misbehaviour.value,
        "at_ms": each.at_ms,
        "held": each.held.decode("utf-8", "replace"),
        "offered": each.offered.decode("utf-8", "replace"),
    }


def _evidence_row(each: Evidence) -> list[str]:
    sizes = [_size(each.held), _size(each.offered)]
    return [each.digest[:SHOWN], each.origin, word(each.misbehaviour), *sizes, _time(each.at_ms / 1000)]


def _size(note: bytes) -> str:
    try:
        return str(Checkpoint.from_body(Note.decode(note).text).size)
    except AuditError:
        return "?"


def _write_evidence(folder: Path, each: Evidence) -> list[Path]:
    """The two notes, and the evidence that joins them, whose SHA-256 its ledger entry names."""
    parts = {"held.note": each.held, "offered.note": each.offered, "evidence.json": each.encode()}
    files = [folder / f"{each.digest[:SHOWN]}.{name}" for name in parts]
    for file, data in zip(files, parts.values(), strict=True):
        _write(file, data)
    return files


def _write(path: Path, data: bytes) -> None:
    """Write a file, in a folder that is made if need be; those above it are not, so that a mistyped path makes none."""
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}): give another --out") from error


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, tz=UTC):%Y-%m-%d %H:%M:%S}"
