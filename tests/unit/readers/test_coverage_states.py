"""States of the coverage: each one, and random histories compared with a model that walks hour by hour."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ohlcv.config.settings import Settings
from ohlcv.model.coverage_records import Note
from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.model.intervals import HOUR
from ohlcv.readers.coverage import MAX_RANGE, read_coverage
from ohlcv.readers.coverage_states import CountedHours, CoverageRow, delay_percentile, longest_silence, sum_delays
from support.coverage_rows import (
    FIRST_HOUR,
    SNAPSHOT,
    START,
    Row,
    hour_row,
    note,
    rejected_row,
    write_coverage,
    write_notes,
)

DAY = 24
WEEK = 7 * DAY


def read(settings: Settings, start: int, end: int, exchange: str | None = None, symbol: str | None = None) -> list[Row]:
    found = read_coverage(settings, START + start * HOUR, START + end * HOUR, exchange, symbol)
    return [
        {"exchange": each, "symbol": name, "hour": row.hour - FIRST_HOUR, "row": row}
        for each, name, row in found.rows()
    ]


def states(settings: Settings, start: int, end: int, symbol: str = "BTC", exchange: str = "X") -> dict[int, str]:
    return {each["hour"]: each["row"].state for each in read(settings, start, end, exchange, symbol)}


def row_of(settings: Settings, hour: int, symbol: str = "BTC", exchange: str = "X") -> CoverageRow:
    (found,) = read(settings, hour, hour + 1, exchange, symbol)
    row: CoverageRow = found["row"]
    return row


class TestStates:
    def test_no_gap_and_sequence_gaps_need_numbers_of_the_neighbours_outside_the_range(
        self, settings: Settings
    ) -> None:
        write_coverage(settings, [hour_row(hour, [2 * hour, 2 * hour + 1]) for hour in range(4)], 9)
        assert states(settings, 1, 3) == {1: "no gap", 2: "no gap"}
        write_coverage(settings, [hour_row(5, [20])], 9)
        assert states(settings, 2, 5) == {2: "no gap", 3: "sequence gaps", 4: "no data"}
        assert row_of(settings, 5).missing == 12

    def test_the_nearest_numbers_are_judged_with_the_hours_that_overlap_them(self, settings: Settings) -> None:
        # Trades of the hours 0 and 1, and of 338 and 339, are out of order. Between them are seven days.
        rows = [
            hour_row(0, [*range(1, 11), *range(21, 26)]),
            hour_row(1, range(11, 21)),
            hour_row(169, range(26, 36)),
            hour_row(170, range(36, 41)),
            hour_row(338, range(46, 51)),
            hour_row(339, [*range(41, 46), *range(51, 56)]),
        ]
        write_coverage(settings, rows, 400)
        assert states(settings, 169, 170) == {169: "no gap"}
        assert states(settings, 170, 171) == {170: "no gap"}

    def test_a_series_without_trades_is_silent_if_others_of_its_exchange_have_some(self, settings: Settings) -> None:
        rows = [hour_row(0), hour_row(1, symbol="ETH"), hour_row(2, exchange="Y")]
        write_coverage(settings, rows, 4)
        assert states(settings, 0, 4) == {0: "unknown", 1: "silent", 2: "no data", 3: "no data"}
        assert row_of(settings, 1).detail == "last trade in the hour from 2026-03-01T00:00:00Z"
        assert row_of(settings, 1).longest_silence == 60

    def test_trades_without_numbers_tell_nothing(self, settings: Settings) -> None:
        write_coverage(settings, [hour_row(0)], 4)
        assert row_of(settings, 0).detail == "no source sequences"
        assert row_of(settings, 0).missing is None

    def test_expired_trades_are_told_from_hours_without_data(self, settings: Settings) -> None:
        write_coverage(settings, [hour_row(0, [1]), hour_row(1, [2], source_expired=True), hour_row(2, [3])], 4)
        assert states(settings, 1, 3) == {1: "source expired", 2: "unknown"}

    def test_an_hour_with_rejected_trades_only_has_no_trades(self, settings: Settings) -> None:
        write_coverage(settings, [hour_row(0), rejected_row(1), rejected_row(1, symbol="NEW")], 4)
        assert row_of(settings, 1).state == "no data"
        assert row_of(settings, 1).detail.endswith("; all trades of the hour are rejected")
        assert row_of(settings, 1, "NEW").state == "unknown"
        assert row_of(settings, 1, "NEW").rejected == 1

    @pytest.mark.parametrize(("symbol", "exchange"), [("", "X"), ("BTC", ""), ("", "")])
    def test_rejected_trades_without_a_series_are_unknown(self, settings: Settings, symbol: str, exchange: str) -> None:
        write_coverage(settings, [rejected_row(0, 3, symbol, exchange)], 4)
        assert row_of(settings, 0, symbol, exchange).detail == "rejected trades without a series"
        assert len(read(settings, 0, 4)) == 1

    def test_a_series_with_an_empty_name_and_trades_is_a_series(self, settings: Settings) -> None:
        write_coverage(settings, [hour_row(hour, [hour], symbol="") for hour in (0, 1, 2)], 4)
        assert states(settings, 0, 3, "") == {0: "unknown", 1: "no gap", 2: "unknown"}

    def test_hours_that_are_not_counted_have_no_state(self, settings: Settings) -> None:
        rows = [hour_row(hour, [hour]) for hour in (0, 1, 2, 3, 6)]
        write_coverage(settings, rows, 5, pending=[2])
        assert states(settings, 0, 9) == {
            **{0: "unknown", 1: "no gap", 2: "unknown", 3: "unknown"},
            **{4: "no data", 6: "unknown"},
        }
        assert row_of(settings, 2).detail == "the hour is counted again soon"
        assert row_of(settings, 2).missing is None
        assert row_of(settings, 2).accepted == 1
        assert row_of(settings, 6).detail == "the hour is not over"

    def test_an_hour_that_is_counted_again_is_found_between_two_hours(self) -> None:
        counted = CountedHours(9, frozenset({2, 3, 7}))
        ranges = [(first, last) for first in range(9) for last in range(first, 9)]
        lacking = [each for each in ranges if any(hour in (2, 3, 7) for hour in range(each[0], each[1] + 1))]
        assert [each for each in ranges if counted.lack(*each)] == lacking
        assert counted.lack(8, 9)

    def test_a_series_is_expected_for_seven_days_after_a_trade(self, settings: Settings) -> None:
        others = [hour_row(hour, symbol="ETH") for hour in range(WEEK + 3)]
        write_coverage(settings, [hour_row(0), *others], WEEK + 3)
        assert set(states(settings, 1, WEEK + 3)) == set(range(1, WEEK + 1))

    def test_time_without_data_of_the_exchange_does_not_end_the_expectation(self, settings: Settings) -> None:
        others = [hour_row(hour, symbol="ETH") for hour in range(WEEK - 1, WEEK + 10) if hour not in (WEEK, WEEK + 1)]
        live = [hour_row(hour, symbol="ETH") for hour in range(WEEK - 1)]
        write_coverage(settings, [hour_row(0), *live, *others], WEEK + 10)
        found = states(settings, WEEK - 1, WEEK + 10)
        assert max(found) == WEEK + 2
        assert found[WEEK] == found[WEEK + 1] == "no data"
        assert found[WEEK + 2] == "silent"

    def test_an_exchange_without_data_is_reported_for_31_days(self, settings: Settings) -> None:
        write_coverage(settings, [hour_row(0)], 40 * DAY)
        assert max(states(settings, 20 * DAY, 40 * DAY)) == 31 * DAY

    def test_a_listed_series_is_expected_without_a_trade(self, settings: Settings) -> None:
        write_coverage(settings, [hour_row(3, symbol="ETH")], 9)
        write_notes(settings, note("expected", 2, 5, symbol="BTC"), note("expected", 0, symbol="SOL", exchange="Z"))
        assert states(settings, 0, 9) == {2: "no data", 3: "silent", 4: "no data"}
        assert row_of(settings, 3).notes == ()
        assert set(states(settings, 0, 9, "SOL", "Z").values()) == {"no data"}

    @pytest.mark.parametrize("symbol", ["BTC", None])
    def test_a_delisted_series_is_not_expected(self, settings: Settings, symbol: str | None) -> None:
        write_coverage(settings, [hour_row(0), hour_row(5, [1])], 9)
        write_notes(settings, note("delisting", 2, symbol=symbol), note("delisting", 0, symbol="ETH"))
        assert states(settings, 0, 9) == {0: "unknown", 1: "no data", 5: "unknown"}

    def test_notes_show_in_the_hours_that_they_cover(self, settings: Settings) -> None:
        write_coverage(settings, [hour_row(0)], 9)
        half = replace(note("halt", 2, 4, symbol="BTC"), start_time=START + 2.5 * HOUR)
        outage = note("outage", 3, 4)
        other = note("outage", 0, 9, symbol="ETH")
        withdrawn = replace(note("halt", 1, 5), note="w", withdrawn_at=START, withdrawn_by="Bo")
        write_notes(settings, half, outage, other, withdrawn, note("outage", 0, 9, exchange="Y"))
        found = {each["hour"]: each["row"].notes for each in read(settings, 1, 6, "X", "BTC")}
        assert found == {1: (), 2: ("halt-2",), 3: ("halt-2", "outage-3"), 4: (), 5: ()}
        coverage = read_coverage(settings, START, START + 9 * HOUR, "X", "BTC")
        assert [each.note for each in coverage.notes] == ["halt-2", "outage-3"]


class TestRequest:
    def test_the_default_is_the_last_day_that_is_counted(self, settings: Settings) -> None:
        write_coverage(settings, [hour_row(29)], 30)
        found = read_coverage(settings)
        assert (found.start, found.end) == (START + 6 * HOUR, START + 30 * HOUR)
        assert (found.counted_until, found.trades_snapshot, found.pending) == (START + 30 * HOUR, SNAPSHOT, ())
        assert read_coverage(settings, START).end == START + 30 * HOUR
        assert read_coverage(settings, end=START + 25 * HOUR).start == START + HOUR

    def test_the_range_contains_whole_hours(self, settings: Settings) -> None:
        write_coverage(settings, [hour_row(0), hour_row(1)], 5, pending=[1, 4])
        found = read_coverage(settings, START + 0.5 * HOUR, START + 1.5 * HOUR)
        assert (found.start, found.end) == (START, START + 2 * HOUR)
        assert found.pending == (FIRST_HOUR + 1,)

    def test_nothing_is_known_before_the_first_recording(self, settings: Settings) -> None:
        with pytest.raises(OhlcvError, match="run 'ohlcv coverage record'"):
            read_coverage(settings)
        found = read_coverage(settings, START, START + HOUR)
        assert found.counted_until is None
        assert list(found.series()) == []

    def test_series_continue_after_one(self, settings: Settings) -> None:
        keys = [("A", "2"), ("A", "10"), ("B", "1"), ("A b", "1")]
        write_coverage(settings, [hour_row(0, exchange=exchange, symbol=symbol) for exchange, symbol in keys], 1)
        found = read_coverage(settings)
        assert [(each.exchange, each.symbol) for each in found.series()] == sorted(keys)
        assert [(each.exchange, each.symbol) for each in found.series(("A", "2"))] == [("A b", "1"), ("B", "1")]

    def test_an_invalid_range_is_refused(self, settings: Settings) -> None:
        with pytest.raises(InputError, match="must be before"):
            read_coverage(settings, START, START)
        for far in (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, tzinfo=UTC)):
            with pytest.raises(InputError, match="outside the years"):
                read_coverage(settings, far)
            with pytest.raises(InputError, match="outside the years"):
                read_coverage(settings, end=far)
        read_coverage(settings, START, START + MAX_RANGE, max_range=MAX_RANGE)
        with pytest.raises(InputError, match="longer than 31 days"):
            read_coverage(settings, START, START + MAX_RANGE + HOUR, max_range=MAX_RANGE)


@pytest.mark.parametrize(
    ("masks", "expected"),
    [
        ([], 0),
        ([0], 60),
        ([2**60 - 1], 0),
        ([1], 59),
        ([1 << 59], 59),
        ([1 << 59, 1 << 10], 59),
        ([1, 1 << 10], 69),
        ([1, 0, 1 << 3], 122),
        ([0b1001 | 1 << 59], 55),
    ],
)
def test_longest_silence(masks: list[int], expected: int) -> None:
    assert longest_silence(masks) == expected


def test_longest_silence_of_random_minutes() -> None:
    chance = random.Random(5)
    for _ in range(200):
        minutes = [chance.random() < chance.choice((0.02, 0.5)) for _ in range(180)]
        masks = [sum(1 << bit for bit in range(60) if minutes[60 * hour + bit]) for hour in range(3)]
        runs = "".join("x" if each else " " for each in minutes).split("x")
        assert longest_silence(masks) == max(map(len, runs))


def test_delay_percentiles_are_upper_bounds() -> None:
    delays = [50, 0, 45, 0, 0, 0, 0, 5, 900]
    assert [delay_percentile(delays, share) for share in (0.5, 0.51, 0.95, 0.96)] == [
        "0.1 s",
        "10 s",
        "10 s",
        "over 1 d",
    ]
    assert delay_percentile([0, 0, 0, 0, 0, 0, 0, 0, 3], 0.5) is None
    assert delay_percentile([], 0.5) is None
    assert sum_delays([[1, 2], None, [3, 4]]) == [4, 6]


@pytest.mark.parametrize("seed", range(4))
def test_random_histories_have_the_states_of_the_model(
    settings: Settings, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    # The rows of one series, of some or of all at a time.
    monkeypatch.setattr("ohlcv.readers.coverage_history._PART_ROWS", chance.choice((1, 1_200, 100_000)))
    length, first = 45 * DAY, 38 * DAY
    series = [("X", "A"), ("X", "B"), ("Y", "A"), ("Y", "C")]
    traded = {each: _random_hours(chance, length) for each in series}
    notes = [
        note(
            kind, begin, chance.choice((None, begin + chance.randint(1, 90))), *chance.choice((series[0], ("Y", None)))
        )
        for kind in ("delisting", "halt")
        for begin in [chance.randint(first - 100, length)]
    ]
    notes.append(note("expected", first + 20, first + 40, "Z", "Q"))
    write_notes(settings, *notes)
    rows = [hour_row(hour, exchange=each[0], symbol=each[1]) for each in series for hour in traded[each]]
    write_coverage(settings, rows, length)
    found = {
        (each["exchange"], each["symbol"], each["hour"]): (each["row"].state, each["row"].notes)
        for each in read(settings, first, length)
    }
    assert found == _model(traded, notes, range(first, length))


def _random_hours(chance: random.Random, length: int) -> set[int]:
    hours, hour = set(), chance.choice((0, 20 * DAY))
    while hour < length:
        hours.add(hour)
        hour += chance.choice((1, 1, 2, 30)) if chance.random() < 0.97 else chance.choice((160, 175, 220, 800))
    return hours


def _model(
    traded: dict[tuple[str, str], set[int]], notes: list[Note], hours: range
) -> dict[tuple[str, str, int], tuple[str, tuple[str, ...]]]:
    found = {}
    for exchange, symbol in [*traded, ("Z", "Q")]:
        own = traded.get((exchange, symbol), set())
        live = {hour for (name, _), each in traded.items() if name == exchange for hour in each}
        for hour in hours:
            start = START + hour * HOUR
            mine = [each for each in notes if each.exchange == exchange and each.symbol in (None, symbol)]
            at_start: set[str] = {
                each.kind for each in mine if each.start_time <= start and (not each.end_time or start < each.end_time)
            }
            if hour in own:
                state = "unknown"
            elif not _model_expects(own, live, hour, at_start):
                continue
            else:
                state = "silent" if hour in live else "no data"
            covering = tuple(
                each.note
                for each in sorted(mine, key=lambda each: each.note)
                if each.kind != "expected"
                and each.start_time < start + HOUR
                and (not each.end_time or start < each.end_time)
            )
            found[exchange, symbol, hour] = (state, covering)
    return found


def _model_expects(own: set[int], live: set[int], hour: int, kinds: set[str]) -> bool:
    if kinds & {"delisting", "expected"}:
        return "delisting" not in kinds
    waited = 0
    for earlier in range(hour - 1, hour - 31 * DAY - 1, -1):
        waited += 1
        if earlier in own:
            return waited <= WEEK
        waited -= earlier not in live
    return False
