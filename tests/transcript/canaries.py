"""Looks for planted values in everything that anybody received, in whatever way they might be written.

Texts in UTF-8 and UTF-16; integers in decimal, as fixed-width integers of 4 and 8 bytes, as protobuf varints and
zigzag varints, as IEEE floats and doubles (both byte orders), and at every decimal scale; all of these raw, in hex, and
in base64 at each of its three alignments. What looks like base64 or hex inside of a record is decoded and searched in
turn, so that payloads of envelopes inside of entries inside of messages are reached.

A pattern of fewer than six bytes could occur in ciphertexts by chance: such a one counts only where three different
ones occur, in the same encoding, in one record, as they would if a column leaked.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import numpy as np

from tests.transcript.people import Data, totals
from tests.transcript.recorder import Received, Transcript
from tests.transcript.shapes import LeakFoundError

Canary = bytes | str | int | float | Decimal

SCALES: Final = (0, 2, 4)
"""Decimals at which a number may have been scaled to an integer: none, those declared, those of `balance`."""
SHORT: Final = 6
"""Patterns with fewer bytes than this may occur by chance."""
TOGETHER: Final = 3
"""How many different short ones in one encoding and record may not."""
MAX_DEPTH: Final = 5

_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_-]{12,}={0,2}")
_HEX: Final = re.compile(rb"(?:[0-9a-fA-F]{2}){6,}")


@dataclass(frozen=True, slots=True)
class Pattern:
    """The bytes of a canary in one encoding."""

    canary: Canary
    encoding: str
    data: bytes


def canaries_of(data: Data) -> set[Canary]:
    """Every value of every row, and every provider's own total of every cell."""
    found: set[Canary] = set()
    for rows in data.values():
        for row in rows:
            found |= {row.name.rstrip("é"), row.income, row.score, row.phone, row.latitude, row.balance}
        found |= {totals(rows, cell)[1] for cell in {row.cell for row in rows}}
    return found


def patterns_of(canary: Canary) -> Iterator[Pattern]:
    """Every way in which the canary is looked for."""
    for encoding, data in _raw(canary):
        yield Pattern(canary, encoding, data)
        if len(data) < SHORT:
            continue  # in hex or base64 it is found when that has been decoded
        yield Pattern(canary, f"hex of {encoding}", data.hex().encode())
        yield Pattern(canary, f"HEX of {encoding}", data.hex().upper().encode())
        for alignment in range(3):
            standard = _aligned_base64(data, alignment)
            yield Pattern(canary, f"base64 of {encoding}", standard)
            yield Pattern(canary, f"base64url of {encoding}", standard.translate(bytes.maketrans(b"+/", b"-_")))


def _raw(canary: Canary) -> Iterator[tuple[str, bytes]]:
    if isinstance(canary, bytes):
        yield "bytes", canary
        return
    if isinstance(canary, str):
        yield from _texts(canary)
        return
    exact = Decimal(repr(canary)) if isinstance(canary, float) else Decimal(canary)
    for digits in {
        str(canary),
        f"{exact:f}",
        *(f"{exact.scaleb(-scale):f}" for scale in SCALES if exact == int(exact)),
    }:
        yield from _texts(digits)
    yield from _floats(float(exact))
    for scale in SCALES:
        scaled = exact.scaleb(scale)
        whole = int(scaled)
        yield from _texts(str(whole))
        yield from _integers(whole)
        yield from _floats(float(scaled))
        yield from _floats(float(exact.scaleb(-scale)))


def _texts(text: str) -> Iterator[tuple[str, bytes]]:
    for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
        yield encoding, text.encode(encoding)


def _integers(value: int) -> Iterator[tuple[str, bytes]]:
    for order in ("<", ">"):
        for code in "iIqQ":
            try:
                yield f"struct {order}{code}", struct.pack(order + code, value)
            except struct.error:
                continue
    yield "varint", _varint(value)
    yield "zigzag varint", _varint(2 * value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _floats(value: float) -> Iterator[tuple[str, bytes]]:
    for form in ("<d", ">d", "<f", ">f"):
        yield f"struct {form}", struct.pack(form, value)


def _aligned_base64(data: bytes, alignment: int) -> bytes:
    """The characters that base64 shows of `data` wherever `alignment` bytes (modulo 3) stand before it."""
    whole = base64.b64encode(bytes(alignment) + data + bytes(-(alignment + len(data)) % 3))
    first = -(-alignment * 8 // 6)
    return whole[first : (alignment + len(data)) * 8 // 6]


class Search:
    """Looks for all patterns of many canaries at once."""

    def __init__(self, canaries: Iterable[Canary]) -> None:
        self._patterns: dict[bytes, set[Pattern]] = {}
        for canary in canaries:
            for pattern in patterns_of(canary):
                assert len(pattern.data) >= 4, pattern
                self._patterns.setdefault(pattern.data[:4], set()).add(pattern)
        self._heads = np.sort(np.array([int.from_bytes(head, "big") for head in self._patterns], dtype=np.uint32))

    def occurrences(self, data: bytes) -> set[Pattern]:
        """The patterns that occur in `data` or in what it encodes; short ones only in company."""
        found = {pattern for layer in layers(data, starts=range(4)) for pattern in self._in_layer(layer)}
        together: dict[str, set[bytes]] = {}
        for pattern in found:
            together.setdefault(pattern.encoding, set()).add(pattern.data)
        return {
            pattern for pattern in found if len(pattern.data) >= SHORT or len(together[pattern.encoding]) >= TOGETHER
        }

    def _in_layer(self, data: bytes) -> Iterator[Pattern]:
        if len(data) < 4:
            return
        octets = np.frombuffer(data, dtype=np.uint8).astype(np.uint32)
        words = octets[:-3] << 24 | octets[1:-2] << 16 | octets[2:-1] << 8 | octets[3:]
        places = np.minimum(np.searchsorted(self._heads, words), len(self._heads) - 1)
        for at in np.flatnonzero(self._heads[places] == words):
            for pattern in self._patterns[data[at : at + 4]]:
                if data.startswith(pattern.data, at):
                    yield pattern


def layers(data: bytes, *, starts: Sequence[int] = (0,), depth: int = MAX_DEPTH) -> Iterator[bytes]:
    """`data`, and whatever it holds in base64 or hex, decoded, in turn.

    `starts` are the characters of a run of base64 at which decoding begins; it is not always clear where text begins.
    """
    yield data
    if depth == 0:
        return
    for run in _BASE64.findall(data):
        for start in starts:
            text = run.rstrip(b"=").replace(b"-", b"+").replace(b"_", b"/")[start:]
            text = text[: len(text) - (len(text) % 4 == 1)]
            yield from layers(base64.b64decode(text + b"=" * (-len(text) % 4)), starts=starts, depth=depth - 1)
    for run in _HEX.findall(data):
        yield from layers(binascii.unhexlify(run), starts=starts, depth=depth - 1)


def verify_no_canary(transcript: Transcript, canaries: Iterable[Canary]) -> None:
    """Check that no canary occurs in any record; raises `LeakFoundError` naming record, encoding and value."""
    search = Search(canaries)
    for record in transcript.records:
        for pattern in search.occurrences(record.data):
            raise LeakFoundError(f"{record} holds {pattern.canary!r} as {pattern.encoding}")


def holders(transcript: Transcript, canaries: Iterable[Canary]) -> list[Received]:
    """The records in which any of the canaries occurs."""
    search = Search(canaries)
    return [record for record in transcript.records if search.occurrences(record.data)]
