"""The checker of histories: correct histories pass, and each planted anomaly is reported."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from decimal import Decimal

import pytest

from support.operation_history import Effect, History, Operation, Rows, State
from support.reference_model import Candle


def candle(window: int, close: int = 1, symbol: str = "BTC-USD") -> Candle:
    price = Decimal(close)
    return Candle(symbol, "kraken", window, window + 60, price, price, price, price, price, 1, price)


def rows(*candles: Candle) -> Rows:
    return Counter(candles)


def build(*candles: Candle) -> Effect:
    """Return the effect of a build that replaces the windows of these candles."""
    windows = {each.window_start_us for each in candles}
    return lambda old: Counter({c: n for c, n in old.items() if c.window_start_us not in windows}) + rows(*candles)


def append(*candles: Candle) -> Effect:
    return lambda old: old + rows(*candles)


def same(old: Rows) -> Rows:
    return old


FIRST, SECOND, THIRD, LATE = candle(0), candle(60), candle(120), candle(0, close=2)
# Two builds run at the same time, then a late trade is built, a compaction follows, and a rerun changes nothing.
OPERATIONS = [
    Operation("a", "build", 0, 20, "ok", "", (build(FIRST),)),
    Operation("b", "build", 5, 15, "ok", "", (build(SECOND, THIRD),)),
    Operation("c", "build", 30, 40, "ok", "", (build(LATE),)),
    Operation("d", "compact", 35, 60, "ok", "", (same,), repeats=True),
    Operation("e", "build", 50, 70, "ok", "", (build(LATE),)),
    Operation("f", "append", 55, 65, "failed", "", (append(candle(240)),)),
    Operation("g", "read", 1, 18, "ok", observed=rows(SECOND, THIRD)),
]
STATES = [
    State(0, None, rows()),
    State(1, "b", rows(SECOND, THIRD)),
    State(2, "a", rows(FIRST, SECOND, THIRD)),
    State(3, "c", rows(LATE, SECOND, THIRD)),
    State(4, "d", rows(LATE, SECOND, THIRD)),
]


def problems(operations: list[Operation], states: list[State]) -> str:
    return "\n".join(History(operations, states).problems())


def changed(name: str, **values: object) -> list[Operation]:
    return [replace(each, **values) if each.name == name else each for each in OPERATIONS]  # type: ignore[arg-type]


def with_rows(position: int, new: Rows) -> list[State]:
    return [replace(each, rows=new) if number >= position else each for number, each in enumerate(STATES)]


def test_a_history_with_a_serial_explanation_has_no_problem() -> None:
    history = History(OPERATIONS, STATES)
    assert history.problems() == []
    assert history.summary() == (
        "7 operations (append 1, build 4, compact 1, read 1; failed 1, ok 6), "
        "4 snapshots of 4 operations, 3 published nothing"
    )


def test_a_killed_operation_may_have_an_effect_or_none() -> None:
    killed = Operation("killed", "append", 58, None, "unknown", "", (append(candle(300)),))
    assert problems([*OPERATIONS, killed], STATES) == ""
    landed = State(5, "killed", STATES[-1].rows + rows(candle(300)))
    assert problems([*OPERATIONS, killed], [*STATES, landed]) == ""


def test_a_lost_update_is_reported() -> None:
    """The second writer has replaced the partition as it was before the first one."""
    assert "snapshot 2: a (build, ok) does not explain it: 2 rows missing" in problems(
        OPERATIONS, with_rows(2, rows(FIRST))
    )


def test_a_row_that_is_stored_twice_is_reported() -> None:
    found = problems(OPERATIONS, with_rows(2, rows(FIRST, FIRST, SECOND, THIRD)))
    assert "0 rows missing, 1 not expected, 1 stored twice" in found


def test_a_stale_overwrite_is_reported() -> None:
    """The compaction has brought back the candle from before the late trade."""
    assert "snapshot 4: d (compact, ok) does not explain it" in problems(OPERATIONS, with_rows(4, STATES[2].rows))


def test_a_write_after_a_reported_failure_is_reported() -> None:
    assert "c (build, failed) has reported that it changed nothing" in problems(changed("c", outcome="failed"), STATES)


def test_a_snapshot_without_an_operation_is_reported() -> None:
    state = State(5, "zombie", STATES[-1].rows)
    assert "snapshot 5: no recorded operation explains it (zombie)" in problems(OPERATIONS, [*STATES, state])


def test_a_second_snapshot_of_one_operation_is_reported() -> None:
    state = State(5, "c", STATES[-1].rows)
    assert "c (build, ok) published 2 snapshots, not 1" in problems(OPERATIONS, [*STATES, state])


def test_a_step_that_changes_nothing_may_publish_nothing() -> None:
    added = candle(300)
    operation = Operation(
        "replace", "overwrite", 80, 90, "ok", "", (lambda old: old - rows(candle(999)), append(added))
    )
    history = [*STATES, State(5, "replace", STATES[-1].rows + rows(added))]
    assert problems([*OPERATIONS, operation], history) == ""
    deletes = replace(operation, steps=(lambda old: old - rows(LATE), append(added)))
    assert "does not explain it" in problems([*OPERATIONS, deletes], [*STATES, *[history[-1]] * 2])


@pytest.mark.parametrize(("invoked", "returned"), [(0, 4), (45, 48)])
def test_an_order_against_real_time_is_reported(invoked: int, returned: int) -> None:
    """The snapshot of b is the first one, that of c the third one."""
    name = "a" if invoked == 0 else "b"
    assert "must lie between snapshots" in problems(changed(name, invoked=invoked, returned=returned), STATES)


def test_a_read_of_rows_that_never_existed_is_reported() -> None:
    found = problems(changed("g", observed=rows(SECOND)), STATES)
    assert found == "g (read, ok) published nothing, but no state from 0 to 2 explains that"


def test_a_read_of_a_state_that_was_replaced_before_it_began_is_reported() -> None:
    assert "g (read, ok) published nothing" in problems(changed("g", invoked=25, returned=28), STATES)


def test_a_second_read_of_an_earlier_state_is_reported() -> None:
    """Each of the reads alone has an explanation."""
    later = Operation("h", "read", 19, 22, "ok", observed=rows(SECOND, THIRD))
    first = replace(later, name="i", invoked=6, returned=12, observed=rows(FIRST, SECOND, THIRD))
    assert problems([*OPERATIONS, first], STATES) == ""
    assert "h (read, ok) published nothing" in problems([*OPERATIONS, first, later], STATES)


def test_a_run_that_did_not_write_its_change_is_reported() -> None:
    assert "e (build, ok) published nothing" in problems(changed("e", steps=(build(candle(0, 3)),)), STATES)


@pytest.mark.parametrize("trades", [(1, 2, 3), (4, 2, 3)])
def test_trades_that_are_older_than_the_run_or_newer_than_its_end_are_reported(trades: tuple[int, int, int]) -> None:
    assert "used trades snapshot" in problems(changed("c", trades=trades), STATES)
