"""A result as HTML, for notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

import pandas as pd

from parties.client.result_cells import CONTRIBUTORS

CLOSED: Final = "closed"
"""What is shown in a closed cell."""

UNDEFINED: Final = "\u2013"
"""What is shown where a figure is not defined, or a row of a table has none."""

_MAX_ROWS: Final = 100


def result_html(tables: Mapping[str, pd.DataFrame], notes: Sequence[str], told: Sequence[str]) -> str:
    """Return tables under their names (none under an empty one), notes, and a line of what else is to be told."""
    parts = []
    for name, table in tables.items():
        if name:
            parts.append(f"<h4>{escape(name)}</h4>")
        parts.append(_marked(table).to_html(max_rows=_MAX_ROWS, index=False))
    if notes:
        parts.append(f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>")
    line = escape(" \u00b7 ".join(told))
    parts.append(f"<p><small>{line}</small></p>")
    return "".join(parts)


def _marked(table: pd.DataFrame) -> pd.DataFrame:
    """The table with words for what is missing. Closed are the rows without contributors, or without any figure."""
    rows = table[CONTRIBUTORS] == 0 if CONTRIBUTORS in table else table.select_dtypes("number").isna().all(axis=1)
    shown = table.astype(object)
    missing = shown.isna()
    return shown.mask(missing, UNDEFINED).mask(missing & rows.to_numpy(dtype=bool)[:, None], CLOSED)
