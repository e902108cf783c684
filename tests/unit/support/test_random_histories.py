"""Random histories: the same seed gives the same history, and a failing one is shortened to what it needs."""

from __future__ import annotations

from support.random_history_generator import generate
from support.random_history_shrinking import Shrinker
from support.random_history_steps import Advance, History
from support.random_history_tables import HistoryError


def test_a_history_depends_only_on_its_seed() -> None:
    assert generate("7-1", 5) == generate("7-1", 5)
    assert generate("7-1", 5) != generate("7-2", 5)
    assert generate("7-1", 5).exchanges == 5


def test_the_deliveries_of_an_exchange_do_not_depend_on_the_number_of_exchanges() -> None:
    few, many = generate("7-3", 1, rounds=1), generate("7-3", 9, rounds=1)
    first = {row for row in many.deliveries[0].rows if row.trade.exchange == "X0"}
    assert first == set(few.deliveries[0].rows)


def test_a_failing_history_is_shortened_to_the_rows_and_steps_that_it_needs() -> None:
    history = generate("7-4", 9)
    rows = [row for step in history.deliveries for row in step.rows if row.trade.exchange == "X4"]
    needed = {rows[0].number, rows[-1].number}

    def attempt(each: History) -> HistoryError | None:
        found = {row.number for step in each.deliveries for row in step.rows}
        clocks = sum(isinstance(step, Advance) for step in each.steps)
        if needed <= found and clocks >= 2:
            return HistoryError("differs", frozenset(["X4"]), len(each.steps) - 1)
        return None

    failure = attempt(history)
    assert failure is not None
    shrinker = Shrinker(history, failure, attempt, seconds=60)
    shortest = shrinker.shrink()
    assert {row.number for step in shortest.deliveries for row in step.rows} == needed
    assert len(shortest.steps) <= 4
    assert str(rows[0].number) in shortest.to_text()


def test_a_failing_history_stays_as_it_is_when_the_time_is_over() -> None:
    history = generate("7-5", 3)
    shrinker = Shrinker(history, HistoryError("differs", step=len(history.steps) - 1), lambda _: None, seconds=0)
    assert shrinker.shrink() == history
    assert shrinker.attempts == 0
