"""Ledgers of very many calls, made fast: real formats, but signatures that nobody made."""

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from audit.entry import Side, encode_entry
from audit.ledger import Ledger, LedgerIdentity
from audit.names import KeyPurpose, Role
from audit.receipt import ReceiptPayload
from audit.store import Batch, Head
from audit.store_sqlite import SqliteStore
from tests.audit.ledgers import QUIET, SteppingClock
from tests.audit.samples import AT_MS, ack, outcome, receipt_payload, signing_key

CHUNK = 4096
SPREAD_MS = 90_000
"""From one call to the next: forty calls an hour."""


def payload(number: int, **changes: object) -> ReceiptPayload:
    """Call `number`'s receipt."""
    fresh = {
        "call": hashlib.sha256(b"call %d" % number).hexdigest(),
        "response": hashlib.sha256(b"response %d" % number).hexdigest(),
        "provider_clock_ms": AT_MS + number * SPREAD_MS,
    }
    return replace(receipt_payload(), **{**fresh, **changes})  # type: ignore[arg-type]


class Writer:
    """Writes call after call by template, as the ledger of one side."""

    def __init__(self, side: Side) -> None:
        sample, acknowledged = outcome(side), ack(side)
        whole = encode_entry(sample).decode()
        encoded = base64.b64encode(sample.receipt.payload).decode()
        self._outcome = _parts(whole, id=sample.receipt_id, call=sample.call, payload=encoded)
        text = encode_entry(acknowledged).decode()
        self._ack = _parts(text, id=acknowledged.receipt_id, call=acknowledged.call)
        first = payload(0)
        clock = f'"provider_clock_ms":{first.provider_clock_ms}'
        self._payload = _parts(_text(first), call=first.call, response=first.response, clock=clock)

    def call(self, number: int) -> tuple[bytes, bytes]:
        """OUTCOME and ACK of a call."""
        call = hashlib.sha256(b"call %d" % number).hexdigest()
        response = hashlib.sha256(b"response %d" % number).hexdigest()
        clock = f'"provider_clock_ms":{AT_MS + number * SPREAD_MS}'
        return self.entries(_fill(self._payload, {"call": call, "response": response, "clock": clock}), call)

    def entries(self, signed: bytes, call: str) -> tuple[bytes, bytes]:
        """OUTCOME and ACK of a receipt payload."""
        values = {"id": hashlib.sha256(signed).hexdigest(), "call": call, "payload": base64.b64encode(signed).decode()}
        return _fill(self._outcome, values), _fill(self._ack, values)

    def changed(self, number: int, **changes: object) -> tuple[bytes, bytes]:
        """OUTCOME and ACK of a call whose receipt says something else; the entry agrees with it."""
        made = payload(number, **changes)
        first, second = self.entries(_text(made).encode(), made.call)
        fields = json.loads(first)
        fields |= {"units": made.units.to_json(), "price_micro": str(made.price_micro)}
        return json.dumps(fields, separators=(",", ":"), sort_keys=True).encode(), second


def write_ledger(path: Path, party: str, entries: Iterable[bytes]) -> None:
    """A ledger file of a genesis entry and these entries, without tiles: for readers of entries only."""
    role = Role.PROVIDER if party == "east" else Role.MERCHANT
    key = signing_key(party, KeyPurpose.LOG)
    identity = LedgerIdentity(party, role, f"LEGAL-{party.upper()}", key.name)
    Ledger.open(path, identity=identity, key=key, clock=SteppingClock(), config=QUIET).close()
    store = SqliteStore(path)
    try:
        chunk: list[bytes] = []
        size = 1
        with store.transaction():
            for data in entries:
                chunk.append(data)
                if len(chunk) == CHUNK:
                    size = _add(store, size, chunk)
            _add(store, size, chunk)
    finally:
        store.close()


def _add(store: SqliteStore, size: int, chunk: list[bytes]) -> int:
    after = size + len(chunk)
    store.add(Batch(size, chunk, [], [], Head(after, bytes(32))))
    chunk.clear()
    return after


def _text(made: ReceiptPayload) -> str:
    return json.dumps(made.to_body(), separators=(",", ":"), sort_keys=True)


def _parts(text: str, **marked: str) -> list[str]:
    """The text cut up: every second part is the name of what stood there."""
    for name, value in marked.items():
        assert text.count(value) == 1
        text = text.replace(value, f"\0{name}\0")
    return text.split("\0")


def _fill(parts: list[str], values: dict[str, str]) -> bytes:
    return "".join([values[part] if place % 2 else part for place, part in enumerate(parts)]).encode()
