"""What tests of witnessing share: quick settings, old copies put in place, and looking at notes and replicas."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from grpc_health.v1 import health_pb2, health_pb2_grpc

from audit.checkpoint import Checkpoint, Note
from audit.cosignature import CosignerKey, verify_cosignatures
from audit.directory import Directory
from audit.entry import Entry, decode_entry
from audit.ledger import LedgerReader, open_reader
from audit.names import KeyPurpose
from parties.channel import Dialler
from parties.home import Home
from tests.parties.federation import Federation, serve

BOOKS = ("ledger.db", "vault.db")


def set_witness(home: Home, **settings: object) -> Home:
    """The home with a `[witness]` section that asks and gives up quickly."""
    wanted = {"interval_ms": 100, "ask_timeout_ms": 2000, **settings}
    lines = [f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}" for key, value in wanted.items()]
    path = home.path / "party.toml"
    path.write_text(path.read_text() + "\n[witness]\n" + "\n".join(lines) + "\n")
    return Home.open(home.path)


def eventually(holds: Callable[[], object], *, seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.05)


def witness_key(directory: Directory, party: str) -> CosignerKey:
    return CosignerKey(directory.party(party).key(KeyPurpose.WITNESS))


def cosigned_size(ledger: LedgerReader, key: CosignerKey) -> int:
    """How many entries the newest stored checkpoint with that witness's valid cosignature covers."""
    for data in ledger.checkpoints_backwards():
        note = Note.decode(data)
        if verify_cosignatures(note, [key]):
            return Checkpoint.from_body(note.text).size
    return 0


def entries_of(path: Path) -> list[bytes]:
    reader = open_reader(path / "ledger.db")
    try:
        return list(reader.read(0, reader.size))
    finally:
        reader.close()


def decoded(path: Path) -> list[Entry]:
    return [decode_entry(data) for data in entries_of(path)]


def copy_books(home: Path, to: Path) -> None:
    """Copy ledger and vault of a party that is stopped, as plain files."""
    to.mkdir(exist_ok=True)
    for name in BOOKS:
        shutil.copy2(home / name, to / name)


def put_back(copy: Path, home: Path) -> None:
    """Put an old copy in place, as somebody does who restores without `unseen restore`."""
    for name in BOOKS:
        for suffix in ("", "-wal", "-shm"):
            (home / f"{name}{suffix}").unlink(missing_ok=True)
        shutil.copy2(copy / name, home / name)


def stop_regulator(fed: Federation) -> None:
    fed.regulator.stop()


def start_regulator(fed: Federation) -> None:
    """Serve the regulator again, at its address."""
    fed.regulator = serve(Home.open(fed.regulator.home.path))


def start_provider(fed: Federation, name: str) -> None:
    fed.providers[name] = serve(Home.open(fed.providers[name].home.path), fed.clock)


def health(fed: Federation, name: str) -> str:
    """What a provider's health service says to the merchant."""
    directory = fed.merchant_home.directory(now_ms=0)
    dialler = Dialler(fed.merchant_home, lambda: directory)
    try:
        stub = health_pb2_grpc.HealthStub(dialler.dial(name).channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=15)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
    finally:
        dialler.close()
