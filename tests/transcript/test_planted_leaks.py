"""Each planted leak turns the transcript's checks red."""

from __future__ import annotations

import json
import struct
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from google.rpc import status_pb2  # type: ignore[import-untyped]
from unseen.v1 import compute_pb2

from audit.canonical import canonicalise
from audit.envelope import Envelope
from parties.telemetry import Logger
from protocols import paillier
from protocols.executor import Advance, Cancelled, InlineExecutor
from protocols.paillier_checks import encode_ciphertexts
from protocols.paillier_noise import noise_source
from sandbox.errors import AbortedRunError
from tests.transcript.canaries import canaries_of, verify_no_canary
from tests.transcript.hidden_parts import part_of, verify_parts_hidden
from tests.transcript.people import INVISIBLE, Data, other_hidden_rows, people
from tests.transcript.recorder import Transcript, What
from tests.transcript.shapes import LeakFoundError, verify_same_views
from tests.transcript.test_hidden_parts import layout_of, packed
from tests.transcript.world import BY, Day, World, live

T = TypeVar("T")
R = TypeVar("R")
Tamper = Callable[[Transcript, Data], Transcript]


# -- a value or total in clear: switched in at the executor's port -----------------------------------------------


class Telling(InlineExecutor):
    """An executor that tells what it is given to encrypt: the total of the first cell that is not masked."""

    def __init__(self, world: World, tell: Callable[[int], None]) -> None:
        super().__init__()
        self._rows, self._income = list(layout_of(world, world.pair).records.widths())[:2]
        self._tell = tell

    def map(
        self,
        function: Callable[[T], R],
        items: Sequence[T],
        *,
        progress: Advance | None = None,
        cancelled: Cancelled | None = None,
    ) -> list[R]:
        for item in items:
            assert isinstance(item, int)
            income = item >> self._rows & (1 << self._income) - 1
            self._tell(income)
        return super().map(function, items, progress=progress, cancelled=cancelled)


def raising(total: int) -> None:
    raise AbortedRunError("ab" * 32, f"the cell holds {total / 100:.2f} in all")


def test_a_cell_total_in_an_error_message_is_found(world: World, folder: Path) -> None:
    def ask(day: Day) -> None:
        with pytest.raises(AbortedRunError):
            day.merchant.aggregate(world.pair, statistics=["mean(household_income)"], by=BY)

    def executor(party: str, logger: Logger) -> InlineExecutor:
        return Telling(world, raising) if party == "north" else InlineExecutor()

    with pytest.raises(LeakFoundError, match=r"details .*Part from north to east|details .*Aggregate from east"):
        verify_no_canary(live(world, folder, people(), executor, ask), canaries_of(people()))


def test_a_cell_total_in_a_log_line_is_found(world: World, folder: Path) -> None:
    def ask(day: Day) -> None:
        day.merchant.aggregate(world.pair, statistics=["mean(household_income)"], by=BY)

    def executor(party: str, logger: Logger) -> InlineExecutor:
        return Telling(world, lambda total: logger.info("encrypting", total=total))

    with pytest.raises(LeakFoundError, match=r"log line"):
        verify_no_canary(live(world, folder, people(), executor, ask), canaries_of(people()))


# -- a part without its mask -------------------------------------------------------------------------------------


def test_an_unmasked_part_is_found(base: Transcript, world: World) -> None:
    key = world.key.public_key
    plaintexts = packed(world, world.joint, "north")
    noise = noise_source(key, len(plaintexts))
    part = encode_ciphertexts([paillier.encrypt(plaintext, key, noise) for plaintext in plaintexts], key)

    def unmasked(data: bytes) -> bytes:
        message = compute_pb2.PartResponse.FromString(data)
        message.part.data = part
        return message.SerializeToString()

    first = next(
        record
        for record in base.select(sender="north", method="/Part", what=What.RESPONSE)
        if part_of(record)[1].contract == world.joint
    )
    tampered = Transcript(
        [replace(each, data=unmasked(each.data)) if each is first else each for each in base.select(method="/Part")]
    )
    with pytest.raises(
        LeakFoundError, match=r"Part from north to east: the merchant's key opens PartResponse.part.data"
    ):
        verify_parts_hidden(tampered, world.key, between_two=world.pair)


def test_a_single_part_handed_on_to_the_merchant_is_found_wherever_it_hides(base: Transcript, world: World) -> None:
    key = world.key.public_key
    ciphertext = paillier.encrypt(packed(world, world.joint, "north")[0], key, noise_source(key, 1))
    hidden = b64encode(ciphertext.to_bytes(key.ciphertext_width, "big"))
    details = Transcript(base.select(what=What.DETAILS))
    tampered = details.tampered(lambda data: data + hidden, receiver="analyst")
    with pytest.raises(LeakFoundError, match=r"details .* to analyst: the merchant's key opens something encoded"):
        verify_parts_hidden(tampered, world.key, between_two=world.pair)


# -- what depends on rows without showing a value: found by comparing two days -----------------------------------


def resealed(envelope: bytes, change: Callable[[dict[str, object]], None]) -> bytes:
    """The envelope with another body; its signatures keep their form, which is all that a reader here sees."""
    decoded = Envelope.decode(envelope)
    body = json.loads(decoded.payload)
    change(body)
    return replace(decoded, payload=canonicalise(body)).encode()


def row_count_in_offer(transcript: Transcript, data: Data) -> Transcript:
    def tell(raw: bytes) -> bytes:
        message = compute_pb2.OfferResponse.FromString(raw)
        message.offer = resealed(message.offer, lambda body: body.update(rows=len(data["north"])))
        return message.SerializeToString()

    return transcript.tampered(tell, sender="north", method="/Offer", what=What.RESPONSE)


def row_count_in_receipt(transcript: Transcript, data: Data) -> Transcript:
    def units(body: dict[str, object]) -> None:
        body["units"] = {**body["units"], "declared_rows": str(len(data["north"]))}  # type: ignore[dict-item]

    def tell(raw: bytes) -> bytes:
        message = compute_pb2.PartResponse.FromString(raw)
        message.receipt = resealed(message.receipt, units)
        return message.SerializeToString()

    return transcript.tampered(tell, sender="north", method="/Part", what=What.RESPONSE)


def length_by_filled_cells(transcript: Transcript, data: Data) -> Transcript:
    def tell(raw: bytes) -> bytes:
        message = compute_pb2.PartResponse.FromString(raw)
        width = message.part.width
        filled = len({row.cell for row in data["north"]})
        message.part.data = message.part.data[:width] * filled
        return message.SerializeToString()

    return transcript.tampered(tell, sender="north", method="/Part", what=What.RESPONSE)


def field_that_nobody_knows(transcript: Transcript, data: Data) -> Transcript:
    """The same in both days: an unknown protobuf field is refused as such, whatever it holds."""
    return transcript.tampered(lambda raw: raw + b"\xf8\x07\x2a", method="/Part", what=What.REQUEST)


def excluded_rows_in_metrics(transcript: Transcript, data: Data) -> Transcript:
    line = b"unseen_rows_excluded_total %d\n" % sum(row.income < 0 for row in data["north"])
    return transcript.tampered(lambda raw: raw + line, receiver="north", what=What.METRIC)


def size_in_an_entry(transcript: Transcript, data: Data) -> Transcript:
    def tell(raw: bytes) -> bytes:
        entry = json.loads(raw)
        return canonicalise({**entry, "clause": str(len(data["north"]))} if "receipt" in entry else entry)

    return transcript.tampered(tell, receiver="north", what=What.ENTRY)


def one_reply_more(transcript: Transcript, data: Data) -> Transcript:
    """South sends its offer again for every row that it withholds."""
    offers = transcript.select(sender="south", method="/Offer", what=What.RESPONSE)
    return Transcript([*transcript.records, *offers[:1] * sum(row.cell == (4, "harbour") for row in data["south"])])


@pytest.mark.parametrize(
    "tamper",
    [
        row_count_in_offer,
        row_count_in_receipt,
        length_by_filled_cells,
        field_that_nobody_knows,
        excluded_rows_in_metrics,
        size_in_an_entry,
        one_reply_more,
    ],
    ids=lambda tamper: tamper.__name__,
)
def test_whatever_depends_on_hidden_rows_is_found(base: Transcript, hidden: Transcript, tamper: Tamper) -> None:
    verify_same_views(base, hidden)
    with pytest.raises(LeakFoundError):
        verify_same_views(tamper(base, people()), tamper(hidden, other_hidden_rows(people())))


@pytest.fixture(scope="module")
def hidden(world: World, tmp_path_factory: pytest.TempPathFactory) -> Transcript:
    """The day over data whose withheld and closed cells hold other rows."""
    assert other_hidden_rows in INVISIBLE
    return live(world, tmp_path_factory.mktemp("hidden") / "homes", other_hidden_rows(people()))


# -- a row's value, wherever and however -------------------------------------------------------------------------


def status_with(text: str) -> Callable[[bytes], bytes]:
    def tell(raw: bytes) -> bytes:
        status = status_pb2.Status.FromString(raw)
        status.details.add().value = text.encode("utf-16-le")
        data: bytes = status.SerializeToString()
        return data

    return tell


ROW = people()["south"][0]


@pytest.mark.parametrize(
    ("change", "which"),
    [
        (status_with(ROW.name), {"receiver": "analyst", "what": What.STATUS}),
        (lambda raw: raw + struct.pack("<d", ROW.latitude), {"receiver": "east", "method": "/Part"}),
        (lambda raw: raw + str(ROW.balance).encode(), {"receiver": "south", "what": What.METRIC}),
        (lambda raw: raw.replace(b'"at_ms":', b'"seen":%d,"at_ms":' % ROW.score), {"what": What.ENTRY}),
        (lambda raw: raw + b64encode(b"x" + struct.pack(">q", ROW.income))[1:], {"what": What.LOG}),
        (lambda raw: raw + ROW.name.encode().hex().encode(), {"what": What.CONSOLE}),
    ],
    ids=["status", "part", "metric", "entry", "log", "console"],
)
def test_a_rows_value_is_found(base: Transcript, change: Callable[[bytes], bytes], which: dict[str, object]) -> None:
    with pytest.raises(LeakFoundError):
        verify_no_canary(base.tampered(change, **which), canaries_of({"south": [ROW]}))
