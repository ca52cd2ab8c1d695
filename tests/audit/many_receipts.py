"""Ledgers of very many calls, made fast: real formats, but signatures that nobody made."""

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from audit.entry import Outcome, Side, encode_entry
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
        sample = outcome(side)
        assert isinstance(sample, Outcome)
        self._template = payload(0)
        self._payload = _text(self._template)
        whole = encode_entry(sample).decode().replace(sample.receipt_id, "{id}").replace(sample.call, "{call}")
        self._outcome = whole.replace(base64.b64encode(sample.receipt.payload).decode(), "{payload}")
        acknowledged = ack(side)
        text = encode_entry(acknowledged).decode()
        self._ack = text.replace(acknowledged.receipt_id, "{id}").replace(acknowledged.call, "{call}")

    def call(self, number: int) -> tuple[bytes, bytes]:
        """OUTCOME and ACK of a call."""
        return self.entries(self._signed(number), hashlib.sha256(b"call %d" % number).hexdigest())

    def entries(self, signed: bytes, call: str) -> tuple[bytes, bytes]:
        """OUTCOME and ACK of a receipt payload."""
        identifier = hashlib.sha256(signed).hexdigest()
        whole = self._outcome.replace("{payload}", base64.b64encode(signed).decode())
        return tuple(  # type: ignore[return-value]
            text.replace("{id}", identifier).replace("{call}", call).encode() for text in (whole, self._ack)
        )

    def changed(self, number: int, **changes: object) -> tuple[bytes, bytes]:
        """OUTCOME and ACK of a call whose receipt says something else; the entry agrees with it."""
        made = payload(number, **changes)
        first, second = self.entries(_text(made).encode(), made.call)
        fields = json.loads(first)
        fields |= {"units": made.units.to_json(), "price_micro": str(made.price_micro)}
        return json.dumps(fields, separators=(",", ":"), sort_keys=True).encode(), second

    def _signed(self, number: int) -> bytes:
        text = self._payload.replace(self._template.call, hashlib.sha256(b"call %d" % number).hexdigest())
        text = text.replace(self._template.response, hashlib.sha256(b"response %d" % number).hexdigest())
        clock = f'"provider_clock_ms":{self._template.provider_clock_ms}'
        return text.replace(clock, f'"provider_clock_ms":{AT_MS + number * SPREAD_MS}').encode()


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
