from dataclasses import dataclass

import pytest

from protocols.errors import BatchCancelledError
from protocols.executor import PREPARED_KEPT, InlineExecutor, workers_for


def test_results_keep_the_order_of_the_items():
    assert InlineExecutor().map(lambda item: item * item, [3, 1, 2]) == [9, 1, 4]


def test_progress_is_told_after_each_item_and_ends_at_all():
    seen: list[tuple[int, int]] = []
    InlineExecutor().map(str, [1, 2, 3], progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_the_first_exception_of_an_item_is_raised_unchanged():
    with pytest.raises(ZeroDivisionError):
        InlineExecutor().map(lambda item: 1 // item, [1, 0, 2])


def test_a_batch_given_up_computes_no_further_item():
    computed: list[int] = []
    with pytest.raises(BatchCancelledError, match="2 of 4"):
        InlineExecutor().map(computed.append, [1, 2, 3, 4], cancelled=lambda: len(computed) == 2)
    assert computed == [1, 2]


@dataclass(frozen=True)
class Table:
    name: str
    built: list[str]

    def __call__(self):
        self.built.append(self.name)
        return self.name

    def __hash__(self):
        return hash(self.name)


def test_preparation_is_done_once_for_all_items_and_calls_and_the_latest_two_are_kept():
    executor, built = InlineExecutor(), []
    first, second, third = (Table(name, built) for name in "abc")
    for _ in range(2):
        assert executor.map_prepared(first, str.__add__, ["x", "y"]) == ["ax", "ay"]
    executor.map_prepared(second, str.__add__, ["x"])
    executor.map_prepared(first, str.__add__, ["x"])
    assert built == ["a", "b"]
    executor.map_prepared(third, str.__add__, ["x"])  # in place of b, the longest unused
    executor.map_prepared(first, str.__add__, ["x"])
    assert built == ["a", "b", "c"]
    executor.map_prepared(second, str.__add__, ["x"])
    assert built == ["a", "b", "c", "b"]
    assert PREPARED_KEPT == 2


def test_nothing_is_prepared_for_no_items():
    built: list[str] = []
    assert InlineExecutor().map_prepared(Table("a", built), str.__add__, []) == []
    assert built == []


@pytest.mark.parametrize(
    ("items", "share", "workers"), [(0, 32, 1), (1, 32, 1), (32, 32, 1), (33, 32, 2), (10**6, 32, 8), (3, 1, 3)]
)
def test_a_worker_takes_part_for_each_share_of_items(items, share, workers):
    assert workers_for(items, 8, share) == workers
