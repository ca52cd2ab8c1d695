"""What the merchant holds after a joint aggregate: data frames, the receipts that bound both sides, and the price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import pandas as pd

from audit.envelope import Envelope
from audit.receipt import ReceiptPayload
from audit.tariff import format_micro
from parties.client.result_html import result_html

MICRO: Final = Decimal(1_000_000)
SINGLE_PROVIDER: Final = "single provider: nothing was combined"


@dataclass(frozen=True, slots=True)
class Receipt:
    """One provider's receipt of the call, with both signatures."""

    receipt_id: str
    payload: ReceiptPayload
    envelope: Envelope

    @property
    def provider(self) -> str:
        """The provider that issued it."""
        return self.payload.provider


@dataclass(frozen=True, slots=True)
class AggregateResult:
    """A joint aggregate: `frame` and `tables` for the analyst, `exact` and `receipts` for whoever checks it.

    `frame` has one row a group: the grouping columns as ordered categoricals, one column for each statistic that is one
    number, and `contributors`, the providers in the cell. Counts are Int64; other figures are float64, rounded once
    from exact fractions. A quantile has two columns, `quantile(wage,0.5)` and `quantile(wage,0.5) error`: the width of
    the bin that holds it. `contributors` is missing where only quantiles are asked, which lie in cells of their own.

    `tables` has the other statistics by their names, in the order asked for; each begins with the grouping columns:

    - `histogram(wage)`: a row a bin: count, contributors.
    - `correlation(a,b,c)` (of two columns it is one number): a row a column: `r(a)`, `r(b)`, `r(c)`.
    - `regression(y~x1+x2)`: a row a term: coefficient, std error, t, p, unit. `regression(y~x1+x2) fit`: n, R2, ...
    - `anova(y~factor)`: a row a source (between, within, total): sum of squares, df, mean square, F, p, eta squared.
    - `quantile(wage,0.1,0.5)`: a row a probability: estimate; `lo` and `hi`, between which the quantile of the rows in
      open bins surely lies; `lo of all rows`, `hi of all rows`: the same whatever was withheld or is closed.

    Where nothing asked for is one number, `frame` is the first of the tables.

    A closed cell (fewer providers than the contract's minimum) is NA in every figure and 0 in `contributors`. What is
    not defined in an open cell, such as a variance over one row, is NA too, and `notes` say why. `exact` has the sums
    behind all figures, by measure, as scaled integers, None in closed cells; those of cells that a statistic splits
    further by the levels of a column are named `rows by education`. `units` gives the unit of each column of `frame`;
    each table has its own as `attrs["units"]`. `epsilon` is 0 for exact releases. `cells` counts the cells of all
    tables, `withheld` the closed ones among them.
    """

    frame: pd.DataFrame
    tables: Mapping[str, pd.DataFrame]
    exact: Mapping[str, tuple[int | None, ...]]
    units: Mapping[str, str]
    notes: tuple[str, ...]
    call: str
    contract: str
    providers: tuple[str, ...]
    receipts: tuple[Receipt, ...]
    price: Decimal
    currency: str
    epsilon: Decimal
    cells: int
    withheld: int

    @property
    def further(self) -> Mapping[str, pd.DataFrame]:
        """The tables that `frame` is none of."""
        return {name: table for name, table in self.tables.items() if table is not self.frame}

    def _repr_html_(self) -> str:
        """Show frame and tables and, beneath them, what they cost and under which contract."""
        told = [
            f"{len(self.providers)} providers: {', '.join(self.providers)}",
            f"{self.withheld} of {self.cells} cells closed",
            f"price {self.price} {self.currency}",
            f"contract {self.contract[:12]}",
            f"call {self.call[:12]}",
        ]
        if len(self.providers) == 1:
            told.insert(0, SINGLE_PROVIDER)
        first = next((name for name, table in self.tables.items() if table is self.frame), "")
        return result_html({first: self.frame, **self.further}, self.notes, told)


def amount(micro: int) -> Decimal:
    """Return micro-units as a decimal of the currency's unit, with six decimals."""
    return Decimal(format_micro(micro))
