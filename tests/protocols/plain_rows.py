"""Plain rows and the moments that a joint query would tell of them."""

from collections.abc import Sequence
from itertools import combinations_with_replacement

from hypothesis import strategies as st

from protocols.moments import Moments


def moments_of(rows: Sequence[Sequence[int]], decimals: Sequence[int]) -> Moments:
    columns = range(len(decimals))
    return Moments(
        rows=len(rows),
        sums=tuple(sum(row[column] for row in rows) for column in columns),
        products=tuple(
            sum(row[first] * row[second] for row in rows) for first, second in combinations_with_replacement(columns, 2)
        ),
        decimals=tuple(decimals),
    )


def tables(columns: int, *, least_rows: int = 0, most_rows: int = 12) -> st.SearchStrategy[list[list[int]]]:
    """Scaled rows of small spread around offsets that may be huge, with repeats: what floating point is worst at."""
    offset = st.sampled_from((0, 0, -7, 10**6, -(10**15), 10**18))

    def rows(offsets: tuple[int, ...]) -> st.SearchStrategy[list[list[int]]]:
        row = st.tuples(*(st.integers(-5, 5).map(own.__add__) for own in offsets)).map(list)
        return st.lists(row, min_size=least_rows, max_size=most_rows)

    return st.tuples(*(offset for _ in range(columns))).flatmap(rows)
