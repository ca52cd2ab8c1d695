from dataclasses import replace

from audit.entry import Denied, Side
from sandbox.denials import ENTRIES_A_WINDOW, IDENTITIES, MAX_CLAUSE, WINDOW_MS, DenialWindows, recorded_clause

AT_MS = 1_760_000_000_000
DENIED = Denied(
    party="east",
    at_ms=AT_MS,
    side=Side.PROVIDER,
    identity="spiffe://stats.example/merchant/shop",
    merchant="shop",
    call="",
    contract="",
    reason="REPLAYED",
    clause="nonce",
    check=0,
    count=1,
)


def flood(windows: DenialWindows, count: int, **changes: object) -> list[Denied]:
    written: list[Denied] = []
    for _ in range(count):
        written += windows.admit(replace(DENIED, **changes))  # type: ignore[arg-type]
    return written


def test_a_hundred_denials_a_minute_are_written_each_and_the_rest_as_one_with_their_number() -> None:
    windows = DenialWindows()
    assert len(flood(windows, 250)) == ENTRIES_A_WINDOW
    assert windows.ended(AT_MS + WINDOW_MS - 1) == ()
    (collapsed,) = windows.ended(AT_MS + WINDOW_MS)
    assert (collapsed.count, collapsed.identity, collapsed.reason) == (150, DENIED.identity, "REPLAYED")
    assert windows.ended(AT_MS + 2 * WINDOW_MS) == ()


def test_the_next_denial_after_the_minute_brings_the_collapsed_one_with_it() -> None:
    windows = DenialWindows()
    flood(windows, 101)
    later = flood(windows, 1, at_ms=AT_MS + WINDOW_MS)
    assert [entry.count for entry in later] == [1, 1]
    assert len(flood(windows, 98, at_ms=AT_MS + WINDOW_MS)) == 98


def test_identities_do_not_share_a_window() -> None:
    windows = DenialWindows()
    flood(windows, 300)
    assert len(flood(windows, 1, identity="spiffe://stats.example/merchant/other")) == 1


def test_closing_writes_what_is_collapsed() -> None:
    windows = DenialWindows()
    flood(windows, 103)
    assert [entry.count for entry in windows.close()] == [3]
    assert windows.close() == ()


def test_memory_is_bounded_and_whoever_comes_beyond_the_bound_shares_one_window() -> None:
    windows = DenialWindows()
    written = 0
    for number in range(IDENTITIES + 300):
        written += len(flood(windows, 1, identity=f"spiffe://stats.example/merchant/m{number}"))
    assert len(windows._windows) == IDENTITIES + 1
    assert written == IDENTITIES + ENTRIES_A_WINDOW
    (others,) = windows.close()
    assert (others.identity, others.count) == ("", 200)


def test_a_collapsed_entry_names_no_single_call() -> None:
    windows = DenialWindows()
    flood(windows, 101, call="ab" * 32, contract="cd" * 32)
    (collapsed,) = windows.close()
    assert (collapsed.call, collapsed.contract) == ("", "")


def test_a_recorded_clause_names_no_column_and_holds_no_text_of_the_merchants() -> None:
    assert recorded_clause("uses.wage") == "uses"
    assert recorded_clause("uses.Zhang San,\nborn 1970.1.2") == "uses"
    assert recorded_clause("frame.education") == "frame"
    assert recorded_clause("datasets.north.columns.wage") == "datasets.north.columns"
    assert recorded_clause("datasets.north") == "datasets.north"
    assert recorded_clause("authorise.deadline_ms") == "authorise.deadline_ms"
    assert len(recorded_clause("x" * 1000)) == MAX_CLAUSE
