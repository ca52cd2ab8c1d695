"""`unseen backup` and `unseen restore`: a home in one file, and back."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from audit.clock import SystemClock
from audit.names import Role
from parties.backup import BackupOptions, back_up
from parties.backup_format import KeysInside, Manifest
from parties.cli.output import HomeOption, JsonOption, emit_json, emit_text, home_path, open_home, say, talk
from parties.restore import restore as restore_home


def backup(
    destination: Annotated[
        Path, typer.Argument(metavar="DEST", help="The file to write, a tar archive.", show_default=False)
    ],
    without_keys: Annotated[bool, typer.Option("--without-keys", help="Leave the private keys out.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Verify the copied ledger from its first entry on; takes longer.")
    ] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Back a home up into one file, also while its party runs; the data sets themselves are not in it.

    Writes the file's path to stdout. It is read back before it gets its name; nothing is overwritten.
    """
    opened = open_home(home)
    options = BackupOptions(keys=not without_keys, verify=verify)
    manifest = back_up(opened, destination, clock=SystemClock(), options=options)
    if manifest.keys is KeysInside.IN_CLEAR:
        talk(
            say(
                "Note: the backup holds this party's private keys in clear. Keep it as you keep them, or use "
                "--without-keys",
                "注意：备份中有未加密的私钥。请像保管私钥一样保管它，或使用 --without-keys",
            )
        )
    talk(
        say(
            f"{opened.name}: {manifest.ledger_size} entries, {len(manifest.files)} files, {manifest.size} bytes. "
            "Data sets are not in it: back them up by themselves",
            f"{opened.name}：账本 {manifest.ledger_size} 条，{len(manifest.files)} 个文件，{manifest.size} 字节。"
            "数据集不在其中，请另行备份",
        )
    )
    if json:
        emit_json({"backup": str(destination.absolute()), **_described(manifest)})
    else:
        emit_text(str(destination))


def restore(
    archive: Annotated[Path, typer.Argument(metavar="BACKUP", help="What `unseen backup` wrote.", show_default=False)],
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Make --home, a new folder, from BACKUP; its party starts once its witnesses have told it where it was."""
    target = home_path(home)
    manifest = restore_home(archive, target, clock=SystemClock())
    for text in _next_steps(manifest, target):
        talk(text)
    if json:
        emit_json({"home": str(target.absolute()), **_described(manifest)})
    else:
        emit_text(str(target))


def _next_steps(manifest: Manifest, target: Path) -> list[str]:
    made = f"{datetime.fromtimestamp(manifest.created_at_ms / 1000, tz=UTC):%Y-%m-%d %H:%M:%S} UTC"
    steps = [
        say(
            f"{manifest.party} is back as of {made}, with {manifest.ledger_size} entries.",
            f"{manifest.party} 已恢复到 {made}，账本 {manifest.ledger_size} 条。",
        ),
        say(
            "See that it runs nowhere else any more: two homes of one party would sign two histories.",
            "请确认它不再在别处运行：同一参与方的两个目录会签出两部不同的历史。",
        ),
    ]
    if manifest.keys is KeysInside.NONE:
        keys = target / "keys"
        steps.append(
            say(
                f"The backup holds no keys: put them into {keys}, each with mode 0600.",
                f"备份中没有私钥：请将其放入 {keys}，权限均为 0600。",
            )
        )
    steps.append(
        say(
            f"Then: unseen doctor --home {target}, and {_start(manifest, target)}. It signs nothing before its "
            "witnesses have told it what it signed after the backup; messages of calls in between are answered STALE.",
            f"然后：unseen doctor --home {target}，再 {_start(manifest, target)}。见证方告知备份之后签署过什么之前，"
            "它什么都不签；其间各次调用的消息已不可得，回答 STALE。",
        )
    )
    return steps


def _start(manifest: Manifest, target: Path) -> str:
    command = "resume" if manifest.role is Role.MERCHANT else "serve"
    return f"unseen {command} --home {target}"


def _described(manifest: Manifest) -> dict[str, object]:
    return {
        "party": manifest.party,
        "role": manifest.role.value,
        "created_at_ms": manifest.created_at_ms,
        "ledger_size": manifest.ledger_size,
        "ledger_root": manifest.ledger_root,
        "keys": manifest.keys.value,
        "files": len(manifest.files),
        "bytes": manifest.size,
    }
