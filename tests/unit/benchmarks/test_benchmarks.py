"""What the benchmarks reckon with: turns, medians, bars, and the refusal of times whose answers differ."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from benchmarks.harness import AnswersDifferError, Cost, Section, Verdict, median, same, take_turns
from benchmarks.small_runs import runs_a_day, schedule
from benchmarks.worlds import World, made_up_candles, with_series
from ohlcv.ingest.sample_data import Feed
from ohlcv.model.intervals import EPOCH, Range
from ohlcv.model.timeframes import TIMEFRAMES


def test_kinds_take_turns_and_every_other_round_goes_backwards() -> None:
    order: list[str] = []

    def kind(name: str, wall: float) -> Cost:
        order.append(name)
        return Cost(wall, 2 * wall)

    found = take_turns({"a": lambda: kind("a", 1), "b": lambda: kind("b", 2)}, 3)

    assert order == ["a", "b", "b", "a", "a", "b"]
    assert found == {"a": [Cost(1, 2)] * 3, "b": [Cost(2, 4)] * 3}


def test_the_median_of_each_figure_is_taken_by_itself() -> None:
    assert median([Cost(1, 30), Cost(9, 10), Cost(2, 20)]) == Cost(2, 20)


@pytest.mark.parametrize(
    ("figure", "at_least", "reached"),
    [(1.0, False, True), (1.01, False, False), (1.0, True, True), (0.99, True, False)],
)
def test_a_bar_is_reached_from_its_own_side(figure: float, at_least: bool, reached: bool) -> None:
    verdict = Verdict("growth", figure, 1.0, at_least=at_least)

    assert verdict.reached is reached
    assert str(verdict).startswith("reached" if reached else "NOT REACHED")


def test_a_time_does_not_count_when_the_answer_is_another() -> None:
    same("candles", [1], [1])
    with pytest.raises(AnswersDifferError, match="mean nothing"):
        same("candles", [1], [2])


def test_a_section_goes_into_json_with_its_verdicts() -> None:
    section = Section("growth", verdicts=[Verdict("400 days", 1.2, 1.15)])
    section.keep("1m", {"400 days": [Cost(1, 2)]})

    found = json.loads(json.dumps(section.to_json()))

    assert found["verdicts"][0]["reached"] is False
    assert found["measured"] == {"1m 400 days": [{"wall": 1.0, "processor": 2.0}]}


def test_a_day_has_457_runs_and_costs_what_they_cost() -> None:
    assert [runs_a_day(timeframe) for timeframe in TIMEFRAMES.values()] == [288, 96, 48, 24, 1]

    rows = schedule(dict.fromkeys(TIMEFRAMES, Cost(20, 30)), dict.fromkeys(TIMEFRAMES, Cost(10, 8))).rows

    assert list(rows[-1]) == ["all", 457, 457 * 30, 457 * 8, 457 * 20, 457 * 10]


def test_a_lengthened_table_has_a_history_of_that_many_commits_and_the_same_rows(tmp_path: Path) -> None:
    world = World(tmp_path / "home")
    feed = Feed(EPOCH)
    hour = timedelta(hours=1)
    world.append(feed.batch(EPOCH + hour, 100))
    newest = world.append(feed.batch(EPOCH + 2 * hour, 50))

    world.lengthen_history(None, 40)

    table = world.table()
    parents = {snapshot.snapshot_id: snapshot.parent_snapshot_id for snapshot in table.snapshots()}
    walked = [newest]
    while (parent := parents[walked[-1]]) is not None:
        walked.append(parent)
    assert len(walked) == len(parents) == 40
    assert table.scan().count() == 150
    assert table.scan(snapshot_id=walked[-1]).count() == 100


def test_tables_are_put_back_to_where_they_stood(tmp_path: Path) -> None:
    world = World(tmp_path / "home")
    feed = Feed(EPOCH)
    world.append(feed.batch(EPOCH + timedelta(hours=1), 100))
    before = world.bookmark()
    world.append(feed.batch(EPOCH + timedelta(hours=2), 100))

    world.put_back(before)

    assert world.table().scan().count() == 100


def test_series_multiply_and_a_past_has_a_candle_for_every_window(tmp_path: Path) -> None:
    world = World(tmp_path / "home")
    timeframe = world.timeframe("1m")
    trades = with_series(Feed(EPOCH).batch(EPOCH + timedelta(minutes=5), 80), 24)

    candles = made_up_candles(world.table("1m"), Range(EPOCH, EPOCH + timedelta(hours=1)), timeframe, trades)

    assert trades.num_rows == 240
    assert len(set(zip(trades["symbol"].to_pylist(), trades["exchange"].to_pylist(), strict=True))) == 24
    assert len(set(trades["message_id"].to_pylist())) == 240
    assert (
        candles.num_rows == candles.group_by(["symbol", "exchange", "window_start"]).aggregate([]).num_rows == 24 * 60
    )
