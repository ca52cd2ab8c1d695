"""Hypothesis strategies: any restricted JSON, and a valid document with one thing changed at a random place."""

import copy
import json
from collections.abc import Callable

from hypothesis import strategies as st

from audit.errors import AuditError
from audit.jcs import MAX_INTEGER, Json, canonicalise

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
INTEGER = st.integers(-MAX_INTEGER, MAX_INTEGER)
JSON: st.SearchStrategy[Json] = st.recursive(
    st.booleans() | INTEGER | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@st.composite
def mutated(draw: st.DrawFn, valid: bytes) -> bytes:
    """Canonical JSON: `valid` with a member replaced, removed or added, somewhere inside."""
    document = json.loads(valid)
    place = copy.deepcopy(document)
    root = place
    while True:
        keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        key = draw(st.sampled_from(keys))
        if isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
            place = place[key]
            continue
        action = draw(st.sampled_from(["replace", "remove", "add"]))
        if action == "replace":
            place[key] = draw(JSON)
        elif action == "remove":
            del place[key]
        elif isinstance(place, dict):
            place[draw(TEXT)] = draw(JSON)
        else:
            place.append(draw(JSON))
        break
    return canonicalise(root, depth=32)


def accepted_or_our_error(decode: Callable[[bytes], bytes], data: bytes) -> None:
    """`decode` reads and writes again: it gives the same bytes, or raises an `AuditError`."""
    try:
        again = decode(data)
    except AuditError:
        return
    assert again == data
