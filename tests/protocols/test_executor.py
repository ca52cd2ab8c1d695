import pytest

from protocols.executor import InlineExecutor


def test_results_keep_the_order_of_the_items():
    assert InlineExecutor().map(lambda item: item * item, [3, 1, 2]) == [9, 1, 4]


def test_progress_is_told_after_each_item_and_ends_at_all():
    seen: list[tuple[int, int]] = []
    InlineExecutor().map(str, [1, 2, 3], progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_the_first_exception_of_an_item_is_raised_unchanged():
    with pytest.raises(ZeroDivisionError):
        InlineExecutor().map(lambda item: 1 // item, [1, 0, 2])
