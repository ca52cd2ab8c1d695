"""What a dataset has answered decides what it answers next."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, pairwise
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.errors import VaultError
from sandbox.overlap import AskedTable, OverlapError, OverlapGuard, Question, Verdict
from sandbox.release import OwnTotals, ReleaseMode, ReleasePolicy
from sandbox.row_identity import RowIdentity
from sandbox.vault import Vault, VaultKind

ROWS = 100
LEAST = 10
K = 5
POLICY = ReleasePolicy(ReleaseMode.EXACT, LEAST, overlap_k=K)
PUBLIC = ReleasePolicy(ReleaseMode.EXACT, LEAST, overlap_k=K, own_totals=OwnTotals.PUBLIC)
SECRET_ALONE = ReleasePolicy(ReleaseMode.EXACT, LEAST)
EVERYONE = ("east", "north", "south")

Cell = Callable[[int], int]


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    with Vault.open(tmp_path / "vault.db") as opened:
        yield opened


@pytest.fixture
def guard(vault: Vault) -> OverlapGuard:
    return over(vault)


def over(vault: Vault, *, rows: int = ROWS, persons: Sequence[int] | None = None) -> OverlapGuard:
    codes = None if persons is None else np.array(persons, dtype=np.uint32)
    return OverlapGuard(vault, "people", RowIdentity(rows, rows, None, codes, None if persons is None else "who"))


def table(*shape: int, of: Cell, rows: int = ROWS) -> AskedTable:
    """Row `row` lies in cell `of(row)`."""
    return AskedTable(shape, np.array([of(row) for row in range(rows)], dtype=np.int32))


def below(limit: int, start: int = 0) -> AskedTable:
    """One cell with the rows from `start` to `limit` - 1."""
    return table(1, of=lambda row: 0 if start <= row < limit else -1)


def question(
    *tables: AskedTable, participants: tuple[str, ...] = EVERYONE, policy: ReleasePolicy = POLICY, least: int = LEAST
) -> Question:
    withheld = [
        bool(np.count_nonzero(asked.rows == cell) < least)
        for asked in tables
        for cell in range(int(np.prod(asked.shape)))
    ]
    return Question(tables, tuple(withheld), participants, policy)


def ask(guard: OverlapGuard, asked: Question, *, closed: Sequence[bool] | None = None, call: str = "call") -> Verdict:
    """A call from its offer to its part; `closed` is what the roster closes beyond what is refused."""
    verdict = guard.reserve(call, asked)
    shut = [a or b for a, b in zip(verdict.refused, closed or [False] * len(verdict.refused), strict=True)]
    guard.settle(call, shut)
    guard.remember(call)
    return verdict


def open_cells(verdict: Verdict) -> list[bool]:
    return [not (withheld or refused) for withheld, refused in zip(verdict.withheld, verdict.refused, strict=True)]


# -- two queries ----------------------------------------------------------------------------------------------------


def test_a_cell_that_differs_in_one_to_k_less_one_rows_is_refused_and_others_are_not(guard: OverlapGuard) -> None:
    ask(guard, question(below(40)))
    for limit, refused in ((41, True), (44, True), (45, False), (36, True), (35, False), (40, False)):
        assert guard.reserve(str(limit), question(below(limit))).refused == (refused,), limit
        guard.release(str(limit))


def test_what_was_refused_is_not_remembered(guard: OverlapGuard) -> None:
    ask(guard, question(below(40)))
    ask(guard, question(below(43)))
    assert ask(guard, question(below(47))).refused == (False,)


def test_a_guard_that_is_declared_off_refuses_nothing(guard: OverlapGuard) -> None:
    for k in (0, 1):
        off = ReleasePolicy(ReleaseMode.EXACT, LEAST, overlap_k=k, own_totals=OwnTotals.PUBLIC)
        for limit in (40, 41, 42):
            assert ask(guard, question(below(limit), policy=off)).refused == (False,)


def test_persons_count_where_they_are_told_apart(vault: Vault) -> None:
    guard = over(vault, persons=[1 + row // 10 for row in range(ROWS)])
    ask(guard, question(below(40)))
    assert guard.reserve("four persons", question(below(79))).refused == (True,)
    assert guard.reserve("five persons", question(below(81))).refused == (False,)


def test_a_cell_withheld_for_its_size_keeps_near_ones_from_being_answered(guard: OverlapGuard) -> None:
    assert ask(guard, question(below(9))) == Verdict((True,), (False,))
    assert guard.reserve("a", question(below(10))).refused == (True,)
    assert guard.reserve("b", question(below(14))).refused == (False,)


def test_a_withheld_cell_that_is_near_to_an_answered_one_shows_as_refused_alone(guard: OverlapGuard) -> None:
    """Its absence, while the others' contributions stay as they are, would be the answered one's very total."""
    ask(guard, question(below(10)))
    assert ask(guard, question(below(9))) == Verdict((False,), (True,))
    assert ask(guard, question(below(10), least=20)) == Verdict((False,), (True,))
    assert guard.reserve("far", question(below(5))) == Verdict((True,), (False,))


def test_a_cell_withheld_while_others_answered_is_not_answered_later(guard: OverlapGuard) -> None:
    asked = question(below(15), least=20)
    ask(guard, asked)
    assert guard.reserve("later", question(below(15))).refused == (True,)


def test_a_cell_withheld_and_closed_for_all_may_be_answered_later(guard: OverlapGuard) -> None:
    ask(guard, question(below(15), least=20), closed=[True])
    assert guard.reserve("later", question(below(15))).refused == (False,)


def test_an_empty_cell_is_withheld_and_tells_nothing(guard: OverlapGuard) -> None:
    for _ in range(2):
        assert ask(guard, question(below(0))) == Verdict((True,), (False,))
    assert guard.answered == 0


# -- participants ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [POLICY, SECRET_ALONE])
def test_a_cell_is_answered_for_one_participant_set_only(guard: OverlapGuard, policy: ReleasePolicy) -> None:
    ask(guard, question(below(40), policy=policy))
    two = ("east", "north")
    assert guard.reserve("same", question(below(40), participants=two, policy=policy)).refused == (True,)
    assert guard.reserve("far", question(below(60), participants=two, policy=policy)).refused == (False,)
    assert ask(guard, question(below(40), policy=policy)).refused == (False,)


def test_where_own_totals_are_public_other_participants_may_ask(guard: OverlapGuard) -> None:
    ask(guard, question(below(40), policy=PUBLIC))
    assert ask(guard, question(below(40), participants=("east", "north"), policy=PUBLIC)).refused == (False,)
    assert ask(guard, question(below(41), participants=("east", "north"), policy=PUBLIC)).refused == (True,)


# -- sums over cells ------------------------------------------------------------------------------------------------


def small_last(row: int) -> int:
    """Ten cells: nine of more than ten rows, the last of three."""
    return 9 if row >= ROWS - 3 else row * 9 // (ROWS - 3)


def test_the_total_that_would_give_away_a_closed_cell_is_refused(guard: OverlapGuard) -> None:
    groups = table(10, of=small_last)
    assert open_cells(ask(guard, question(groups))) == [True] * 9 + [False]
    assert ask(guard, question(below(ROWS))).refused == (True,)


def test_after_a_total_the_smallest_cell_goes_that_would_give_a_closed_one_away(guard: OverlapGuard) -> None:
    ask(guard, question(below(ROWS)))
    verdict = ask(guard, question(table(10, of=small_last)))
    assert sum(verdict.refused) == 1
    assert verdict.withheld == (False,) * 9 + (True,)


def test_a_total_and_its_cells_in_one_question_are_held_against_one_another(guard: OverlapGuard) -> None:
    verdict = ask(guard, question(below(ROWS), table(10, of=small_last)))
    opened = open_cells(verdict)
    assert opened[0]
    assert sum(verdict.refused) == 1
    assert not opened[10]


def test_all_cells_and_their_total_are_answered_together(guard: OverlapGuard) -> None:
    verdict = ask(guard, question(below(ROWS), table(5, of=lambda row: row // 20)))
    assert open_cells(verdict) == [True] * 6


def test_rows_and_columns_of_a_table_are_sums_too(guard: OverlapGuard) -> None:
    """One closed cell of four rows: its row's total, asked for later, would give it away."""
    cell = table(2, 2, of=lambda row: 0 if row < 40 else 1 if row < 44 else 2 if row < 70 else 3)
    assert open_cells(ask(guard, question(cell))) == [True, False, True, True]
    assert ask(guard, question(below(44))).refused == (True,)
    assert ask(guard, question(below(ROWS, start=44))).refused == (False,)
    assert ask(guard, question(table(1, of=lambda row: 0 if row < 40 or 44 <= row < 70 else -1))).refused == (False,)
    assert ask(guard, question(table(1, of=lambda row: 0 if row < 70 else -1))).refused == (True,)


def test_suppression_goes_on_until_nothing_conflicts(guard: OverlapGuard) -> None:
    """Each answered total is near to a sum of cells, and the sum without its smallest cell is near to another."""
    ask(guard, question(below(64)))
    ask(guard, question(table(1, of=lambda row: 0 if row < 30 or 42 <= row < 64 else -1)))
    cells = table(3, of=lambda row: 0 if row < 30 else 1 if row < 42 else 2 if row < 62 else -1)
    assert ask(guard, question(cells)).refused == (False, True, True)


def test_a_withheld_cell_that_another_table_gives_away_is_refused(guard: OverlapGuard) -> None:
    """Withheld in one table for its many moments, answered in the other: the difference would be this provider's."""
    asked = Question(
        (below(20), table(2, of=lambda row: row // 10 if row < 20 else -1)), (True, False, False), EVERYONE, POLICY
    )
    assert ask(guard, asked) == Verdict((False, False, False), (True, False, False))


# -- rows that lack a value ------------------------------------------------------------------------------------------


def lacking(asked: AskedTable, *demands: Callable[[int], bool]) -> AskedTable:
    """The same, with sums over the rows that meet each demand."""
    masks = tuple(np.array([not met(row) for row in range(len(asked.rows))]) for met in demands)
    return AskedTable(asked.shape, asked.rows, masks)


def test_a_cell_goes_with_the_rows_of_it_in_which_a_value_is_there(guard: OverlapGuard) -> None:
    groups = table(2, of=lambda row: row // 50)
    asked = question(lacking(groups, lambda row: row not in (7, 8)))
    assert ask(guard, asked).refused == (True, False)
    far = question(lacking(groups, lambda row: row % 50 < 40))
    assert guard.reserve("far", far).refused == (False, False)


def test_two_demands_of_one_table_are_held_against_one_another(guard: OverlapGuard) -> None:
    one = lacking(below(ROWS), lambda row: row < 50, lambda row: row < 48)
    assert ask(guard, question(one)).refused == (True,)
    assert ask(guard, question(lacking(below(ROWS), lambda row: row < 50, lambda row: row < 40))).refused == (False,)
    assert ask(guard, question(below(48))).refused == (True,)
    assert ask(guard, question(below(50))).refused == (False,)


def test_sums_over_the_rows_in_which_a_value_is_there_are_answers_too(guard: OverlapGuard) -> None:
    ask(guard, question(lacking(table(4, of=lambda row: row // 25), lambda row: row % 25 < 15)))
    assert ask(guard, question(table(1, of=lambda row: 0 if row % 25 < 15 and row != 1 else -1))) == (
        Verdict((False,), (True,))
    )


def test_a_question_with_demands_that_comes_again_is_answered_alike(guard: OverlapGuard, vault: Vault) -> None:
    groups = table(2, 5, of=lambda row: row // 10)
    asked = question(
        lacking(groups, lambda row: row < 40 or row % 5 < 2), lacking(below(50), lambda row: row < 20), least=8
    )
    first = ask(guard, asked)
    kept = stored(vault)
    for again in (guard, over(vault)):
        assert ask(again, asked) == first
        assert stored(vault) == kept
    assert ask(over(vault), question(below(19))).refused == (True,)


# -- the roster -----------------------------------------------------------------------------------------------------


def test_what_the_roster_closes_is_not_remembered(guard: OverlapGuard) -> None:
    ask(guard, question(table(2, of=lambda row: row // 50)), closed=[True, False])
    assert ask(guard, question(below(48))).refused == (False,)
    assert ask(guard, question(below(ROWS, start=52))).refused == (True,)


def test_a_roster_that_leaves_open_a_sum_that_is_near_to_an_answer_gets_no_part(guard: OverlapGuard) -> None:
    ask(guard, question(below(42)))
    cells = question(table(3, of=lambda row: row // 20 if row < 60 else -1))
    assert guard.reserve("call", cells).refused == (False, False, False)
    with pytest.raises(OverlapError, match="sums"):
        guard.settle("call", [False, False, True])
    guard.release("call")
    assert ask(guard, cells).refused == (False, False, False)


# -- calls at the same time, and their end --------------------------------------------------------------------------


def test_of_two_overlapping_questions_at_once_one_is_answered(guard: OverlapGuard) -> None:
    verdicts: dict[int, Verdict] = {}
    start = threading.Barrier(8)

    def offer(limit: int) -> None:
        start.wait()
        verdicts[limit] = guard.reserve(str(limit), question(below(limit)))

    threads = [threading.Thread(target=offer, args=(40 + number,)) for number in range(4)]
    threads += [threading.Thread(target=offer, args=(50 - number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answered = sorted(limit for limit, verdict in verdicts.items() if not verdict.refused[0])
    assert answered
    assert all(second - first >= K for first, second in pairwise(answered))


def test_a_reservation_ends_with_its_call(guard: OverlapGuard) -> None:
    guard.reserve("first", question(below(40)))
    assert guard.reserve("second", question(below(41))).refused == (True,)
    guard.release("second")
    guard.release("first")
    assert ask(guard, question(below(41))).refused == (False,)
    with pytest.raises(OverlapError):
        guard.remember("first")


def test_a_call_that_is_not_settled_is_not_remembered(guard: OverlapGuard) -> None:
    guard.reserve("call", question(below(40)))
    with pytest.raises(OverlapError, match="settled"):
        guard.remember("call")


def intervals() -> st.SearchStrategy[list[tuple[int, int]]]:
    return st.lists(st.tuples(st.integers(0, 45), st.integers(1, 50)), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(intervals(), st.integers(1, 4), st.randoms(use_true_random=False))
def test_no_two_sums_that_were_ever_answered_are_near_to_one_another(
    asked: list[tuple[int, int]], cells: int, draw: Random
) -> None:
    """Whatever is asked, in whatever order, and whatever else the rosters close."""
    known: list[frozenset[int]] = []
    with TemporaryDirectory() as folder, Vault.open(Path(folder) / "vault.db") as vault:
        guard = over(vault)
        for start, length in asked:
            width = max(1, length // cells)
            place = {row: (row - start) // width for row in range(start, start + width * cells)}
            made = question(table(cells, of=lambda row, place=place: place.get(row, -1)), policy=PUBLIC, least=4)
            verdict = guard.reserve("call", made)
            shut = [refused or draw.random() < 0.1 for refused in verdict.refused]
            try:
                guard.settle("call", shut)
            except OverlapError:
                guard.release("call")
                continue
            guard.remember("call")
            opened = [not (a or b) for a, b in zip(verdict.withheld, shut, strict=True)]
            given_away = [
                frozenset(row for row, of in place.items() if of == cell and row < ROWS) for cell in range(cells)
            ]
            parts = [rows for rows, is_open in zip(given_away, opened, strict=True) if is_open]
            known += [*parts, frozenset().union(*parts)]
    for one, other in combinations(filter(None, known), 2):
        assert not one & other or not 0 < len(one ^ other) < K or covered(one ^ other, known)


def covered(rows: frozenset[int], known: list[frozenset[int]]) -> bool:
    """Whether they are themselves cells that were answered, of one question: then nothing new is told."""
    return any(rows == one for one in known)


# -- what is kept ---------------------------------------------------------------------------------------------------


def stored(vault: Vault) -> dict[str, bytes]:
    return dict(vault.items(VaultKind.OVERLAP))


def test_what_was_answered_survives_a_restart(vault: Vault, tmp_path: Path) -> None:
    ask(over(vault), question(table(10, of=small_last)))
    vault.close()
    with Vault.open(tmp_path / "vault.db") as again:
        guard = over(again)
        assert ask(guard, question(below(ROWS))).refused == (True,)
        assert ask(guard, question(table(10, of=small_last), participants=("east", "north"))).refused[:9] == (True,) * 9


def test_a_crash_before_it_is_remembered_leaves_nothing(vault: Vault) -> None:
    before = stored(vault)
    guard = over(vault)
    guard.reserve("call", question(below(40)))
    guard.settle("call", [False])
    assert {key for key in stored(vault) if "/scheme" not in key} == set(before)
    assert ask(over(vault), question(below(41))).refused == (False,)


def test_the_same_question_stores_nothing_new(guard: OverlapGuard, vault: Vault) -> None:
    asked = question(table(2, 5, of=lambda row: row // 10), below(50))
    first = ask(guard, asked)
    kept = stored(vault)
    for again in (guard, over(vault)):
        assert ask(again, asked) == first
        assert stored(vault) == kept


def test_a_cell_in_two_questions_is_kept_once(guard: OverlapGuard, vault: Vault) -> None:
    ask(guard, question(table(2, of=lambda row: row // 50)))
    sets = len([key for key in stored(vault) if "/set/" in key])
    ask(guard, question(below(50)))
    assert len([key for key in stored(vault) if "/set/" in key]) == sets
    assert guard.answered == sets == 3


def test_the_same_question_with_another_roster_is_checked_and_remembered(guard: OverlapGuard) -> None:
    asked = question(table(2, of=lambda row: row // 50))
    ask(guard, asked)
    ask(guard, asked, closed=[True, False])
    assert ask(guard, asked).refused == (False, False)
    assert ask(guard, question(below(49))).refused == (True,)


def test_persons_that_are_declared_later_count_for_earlier_answers_too(vault: Vault) -> None:
    ask(over(vault), question(below(40)))
    guard = over(vault, persons=[1 + row // 10 for row in range(ROWS)])
    assert guard.reserve("four persons", question(below(79))).refused == (True,)
    assert guard.reserve("five persons", question(below(81))).refused == (False,)


def test_damaged_memory_is_an_error_and_not_an_answer(vault: Vault) -> None:
    ask(over(vault), question(below(40)))
    vault.delete(VaultKind.OVERLAP, "people/set/0000000000")
    with pytest.raises(VaultError, match="restore the backup"):
        over(vault).reserve("call", question(below(41)))


def test_rows_of_a_new_version_are_held_against_those_of_the_old(vault: Vault) -> None:
    ask(over(vault), question(below(40)))
    ids = np.array([*range(40), 100], dtype=np.uint32)  # one row more, sixty gone
    guard = OverlapGuard(vault, "people", RowIdentity(41, 101, ids, None, None))
    assert guard.reserve("new", question(table(1, of=lambda row: 0, rows=41))).refused == (True,)
    old = guard.reserve("old", question(table(1, of=lambda row: 0 if row < 40 else -1, rows=41)))
    assert old.refused == (False,)
