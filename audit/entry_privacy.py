"""What an INTENT takes of a privacy budget, in clear: whose, and by which release.

An event is written as plain JSON with the field `kind`; its other fields say how much the release can tell of one row
or person (the mathematics is the protocols' own). Here its form alone is held, exactly, so that nothing else can stand
in a ledger in its place.
"""

import re
from dataclasses import dataclass
from typing import Final

from audit.canonical import Fields, JsonObject
from audit.errors import MalformedError
from audit.names import LEGAL_ENTITY_PATTERN

MAX_EVENT_DEPTH: Final = 4
MAX_EVENT_PARTS: Final = 256
"""More would not fit into an entry."""

_FRACTION: Final = re.compile(r"(?:0|[1-9][0-9]{0,159})/[1-9][0-9]{0,159}", re.ASCII)


@dataclass(frozen=True, slots=True)
class PrivacyTaken:
    """The privacy that a call takes at a provider.

    Args:
        entity: the legal entity of the merchant, as the directory wrote it when the call was taken.
        event: the release's cost event, as `read_event` accepts it.
    """

    entity: str
    event: JsonObject

    def to_fields(self) -> JsonObject:
        """The object in the entry."""
        return {"entity": self.entity, "event": self.event}

    @classmethod
    def from_fields(cls, fields: Fields) -> "PrivacyTaken":
        """The inverse of `to_fields`; raises `MalformedError`."""
        taken = cls(fields.text("entity", pattern=LEGAL_ENTITY_PATTERN), read_event(fields.object("event")))
        fields.finish()
        return taken


def read_event(fields: Fields, depth: int = MAX_EVENT_DEPTH) -> JsonObject:
    """Read a cost event of one of the known kinds.

    Kinds: `noised_vector` (honest_shares, distance, blocks: changed, share_variance, squared_sensitivity), `composed`
    (events), `repeated` (event, times) and `poisson_sampled` (event, rate). Numbers of things are integers, all else
    are fractions as text, such as "25/3".

    Raises:
        MalformedError: another kind, a field missing, unknown or outside its form, or nested more than `depth` deep.
    """
    if not depth:
        raise MalformedError(f"a privacy cost nests at most {MAX_EVENT_DEPTH} deep")
    kind = fields.text("kind", max_length=32)
    event: JsonObject
    match kind:
        case "noised_vector":
            blocks = [_block(block) for block in fields.objects("blocks", max_items=MAX_EVENT_PARTS)]
            event = {
                "blocks": blocks,
                "distance": _fraction(fields, "distance"),
                "honest_shares": fields.integer("honest_shares", 1),
            }
        case "composed":
            parts = fields.objects("events", max_items=MAX_EVENT_PARTS)
            event = {"events": [read_event(part, depth - 1) for part in parts]}
        case "repeated":
            event = {"event": read_event(fields.object("event"), depth - 1), "times": fields.integer("times", 1)}
        case "poisson_sampled":
            event = {"event": read_event(fields.object("event"), depth - 1), "rate": _fraction(fields, "rate")}
        case _:
            raise MalformedError(f"a privacy cost of kind {kind!r}, which this release does not know: use a later one")
    fields.finish()
    return {**event, "kind": kind}


def _block(fields: Fields) -> JsonObject:
    block: JsonObject = {
        "changed": fields.integer("changed", 1),
        "share_variance": _fraction(fields, "share_variance"),
        "squared_sensitivity": _fraction(fields, "squared_sensitivity"),
    }
    fields.finish()
    return block


def _fraction(fields: Fields, name: str) -> str:
    return fields.text(name, max_length=321, pattern=_FRACTION)
