"""Candles as of a moment and of a vintage: the rules of the ledger, what is refused, and what is read."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables, widen_volume
from ohlcv.model.errors import InputError, UnknownSeriesError
from ohlcv.model.intervals import iso
from ohlcv.readers.point_in_time import read_past_candles
from support.candle_rows import HOUR, MINUTE, Row, Scan, at, candle, dates_read, window_starts
from support.commit_times import commits_at
from support.default_tables import candles_contract
from support.ledger import RecordedHistory, append, seen
from support.past_reads import NOON, closes, hour


@pytest.fixture
def history(settings: Settings) -> RecordedHistory:
    return RecordedHistory(settings, HOUR, NOON)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> RecordedHistory:
    """Return a table with one recorded publication."""
    settings = load_settings({"OHLCV_HOME": str(tmp_path_factory.mktemp("stored"))})
    create_tables(settings)
    history = RecordedHistory(settings, HOUR, NOON)
    history.job([hour("01T10")])
    history.record()
    return history


class TestUndoRules:
    def test_values_before_a_change_return(self, history: RecordedHistory) -> None:
        first = history.job([hour("01T10"), hour("01T11")])
        second = history.job([hour("01T10", "2")], deleted=[hour("01T11")])
        last = history.job([hour("01T11", "3")])
        history.record()
        history.expire(last)
        assert closes(history, as_of=first.seen_at) == ["01T10 1", "01T11 1"]
        assert closes(history, as_of=second.seen_at) == ["01T10 2"]
        assert closes(history, as_of=last.seen_at) == ["01T10 2", "01T11 3"]

    def test_a_candle_that_was_rolled_back_and_published_again(self, history: RecordedHistory) -> None:
        first = history.job([hour("01T10")])
        second = history.job([hour("01T11")])
        away = history.rollback(first)
        again = history.rollback(second)
        last = history.job([hour("01T12")])
        history.record()
        history.expire(last)
        assert [closes(history, as_of=state.seen_at) for state in (first, second, away, again)] == [
            ["01T10 1"],
            ["01T10 1", "01T11 1"],
            ["01T10 1"],
            ["01T10 1", "01T11 1"],
        ]

    def test_a_row_that_a_writer_gave_the_time_of_a_later_publication(self, history: RecordedHistory) -> None:
        first = history.job([hour("01T10")])
        stamp = history.now + timedelta(minutes=1, seconds=20)
        early = history.commit([*history.rows, hour("01T11", created_at=stamp)], trigger="other writer")
        later = history.job([hour("01T12")])
        assert later.written_at == stamp
        history.record()
        history.expire(later)
        assert closes(history, as_of=first.seen_at) == ["01T10 1"]
        assert closes(history, as_of=early.seen_at) == ["01T10 1", "01T11 1"]

    def test_rows_of_a_snapshot_that_was_published_twice(self, history: RecordedHistory) -> None:
        history.job([hour("01T09")])
        first = history.job([hour("01T10")])
        second = history.job([hour("01T09", "2")])
        again = history.rollback(first)
        # A ledger may know the time at which the snapshot was written.
        history.states[-1] = again = history.with_stamp(again, first.written_at)
        history.record()
        assert closes(history, as_of=second.seen_at) == ["01T09 2", "01T10 1"]
        assert closes(history, as_of=again.seen_at) == ["01T09 1", "01T10 1"]

    def test_a_candle_of_a_stamp_that_was_deleted_in_between(self, history: RecordedHistory) -> None:
        first = history.job([hour("01T09")])
        second = history.job([hour("01T10")])
        away = history.rollback(first)
        history.rollback(second)
        # A ledger may know the time at which the snapshot was written, and then need no row of the insertion.
        history.states[-1] = again = history.with_stamp(history.states[-1], second.written_at)
        history.record(insertions_of={4})
        assert closes(history, as_of=away.seen_at) == ["01T09 1"]
        assert closes(history, as_of=again.seen_at) == ["01T09 1", "01T10 1"]

    def test_duplicates_are_returned_as_they_were(self, history: RecordedHistory) -> None:
        history.job([hour("01T10")])
        doubled = history.commit([*history.rows, *history.rows, hour("01T10", "5")], trigger="other writer")
        repaired = history.commit([hour("01T10", "7")], written_at=history.now)
        history.record()
        history.expire(repaired)
        assert closes(history, as_of=doubled.seen_at) == ["01T10 1", "01T10 1", "01T10 5"]
        assert closes(history, as_of=repaired.seen_at) == ["01T10 7"]

    def test_nulls_are_values_and_keys(self, history: RecordedHistory) -> None:
        odd = {**hour("01T10"), "symbol": None, "vwap": None, "created_at": None}
        first = history.commit([odd], trigger="other writer")
        last = history.commit([{**odd, "vwap": Decimal(1)}], trigger="other writer")
        history.record()
        history.expire(last)
        table = read_past_candles(history.settings, HOUR, as_of=first.seen_at)
        assert seen(table.to_pylist()) == seen([odd])

    def test_the_volume_column_was_widened_since(self, tmp_path: Path) -> None:
        settings = load_settings({"OHLCV_HOME": str(tmp_path)})
        # A table that is newer than its commits would not be changed.
        with commits_at(lambda: NOON):
            create_tables(settings)
        history = RecordedHistory(settings, HOUR, NOON)
        first = history.job([hour("01T10"), hour("01T11")])
        with commits_at(lambda: history.now):
            widen_volume(settings, candles_contract(HOUR))
        last = history.job([hour("01T10", volume=Decimal("10000000000.5"))])
        history.record()
        history.expire(last)
        table = read_past_candles(history.settings, HOUR, as_of=first.seen_at)
        assert seen(table.to_pylist()) == seen(first.rows)
        assert str(table.schema.field("volume").type) == "decimal128(38, 8)"

    def test_rows_of_an_unfinished_recording_are_ignored(self, history: RecordedHistory) -> None:
        first = history.job([hour("01T10"), hour("01T11")])
        history.job([hour("01T10", "2")])
        history.record()
        table = history.settings.revisions_contract
        row = {**hour("01T11", "9"), "timeframe": "1h", "publication": 3, "change": "updated", "causes": []}
        append(history.settings, table, "window_start", [row])
        assert closes(history, as_of=first.seen_at) == ["01T10 1", "01T11 1"]

    def test_the_newest_of_two_publications_with_disordered_clocks(self, history: RecordedHistory) -> None:
        history.job([hour("01T10")])
        skewed = history.job([hour("01T10", "2")])
        history.now -= timedelta(seconds=90)
        last = history.job([hour("01T10", "3")])
        assert last.seen_at < skewed.seen_at
        history.record()
        assert closes(history, as_of=last.seen_at) == closes(history, as_of=skewed.seen_at) == ["01T10 3"]
        # 15 seconds after the last publication, before the time of the one before.
        assert closes(history, vintage="3705s") == ["01T10 3"]


class TestSnapshots:
    def test_a_snapshot_is_read_by_its_id(self, history: RecordedHistory) -> None:
        first = history.job([hour("01T10")])
        history.compact()
        history.job([hour("01T10", "2")])
        later = history.job([hour("01T10", "3")])
        history.record(3)
        history.expire(*history.states[2:])
        assert first.snapshot is not None
        assert closes(history, as_of_snapshot=first.snapshot) == ["01T10 1"]
        assert closes(history, as_of_snapshot=later.snapshot) == ["01T10 3"]
        with pytest.raises(InputError, match=r"^unknown snapshot 7 of 1h candles: see"):
            closes(history, as_of_snapshot=7)

    def test_a_snapshot_that_was_never_published_is_refused(self, history: RecordedHistory) -> None:
        first = history.job([hour("01T10")])
        history.record()
        assert first.snapshot is not None
        table = history.table
        table.manage_snapshots().create_branch(first.snapshot, "candidate").commit()
        with table.transaction() as transaction, transaction.update_snapshot(branch="candidate").overwrite():
            pass
        staged = history.table.refs()["candidate"].snapshot_id
        with pytest.raises(InputError, match=rf"^snapshot {staged} of 1h candles has not been published since"):
            closes(history, as_of_snapshot=staged)

    def test_before_the_first_record_the_snapshot_log_is_read(self, history: RecordedHistory) -> None:
        first = history.job([hour("01T10")])
        history.job([hour("01T10", "2")])
        assert closes(history, as_of=first.seen_at) == ["01T10 1"]
        with pytest.raises(InputError, match=rf"are not known: available from {iso(first.seen_at)}"):
            closes(history, as_of=first.seen_at - timedelta(seconds=1))
        with pytest.raises(InputError, match=r"^the ledger of 1h has not begun: run 'ohlcv ledger record'"):
            closes(history, vintage="first")

    def test_a_state_that_expired_before_the_first_record_is_refused(self, history: RecordedHistory) -> None:
        first = history.job([hour("01T10")])
        lost = history.job([hour("01T10", "2")])
        last = history.job([hour("01T10", "3")])
        history.expire(first)
        with pytest.raises(InputError, match=rf"available from {iso(last.seen_at)}$"):
            closes(history, as_of=lost.seen_at)
        assert closes(history, as_of=last.seen_at) == ["01T10 3"]

    def test_an_empty_table_has_no_candles(self, history: RecordedHistory) -> None:
        append(
            history.settings,
            history.settings.publications_contract,
            "visible_at",
            [{"timeframe": "1h", "number": 1, "trigger": "first", "visible_at": NOON, "deleted_partitions": []}],
        )
        history.now = NOON + timedelta(hours=1)
        history.job([hour("01T10")])
        table = read_past_candles(history.settings, HOUR, as_of=NOON + timedelta(minutes=1))
        assert (len(table), b"ohlcv.snapshot" in table.schema.metadata) == (0, False)
        assert closes(history, as_of=history.now) == ["01T10 1"]


class TestGaps:
    def test_states_that_expired_before_they_were_recorded(self, history: RecordedHistory) -> None:
        history.job([hour("01T10")])
        history.record()
        history.job([hour("01T10", "2")])
        history.job([hour("01T10", "3")])
        last = history.job([hour("01T10", "4")])
        history.expire()
        begin = iso(last.seen_at)
        for moment in (history.states[0].seen_at, history.states[1].seen_at):
            with pytest.raises(InputError, match=f"available from {begin}$"):
                closes(history, as_of=moment)
        assert closes(history, as_of=last.seen_at) == ["01T10 4"]
        with pytest.raises(InputError, match="has expired, so earlier states are unknown"):
            closes(history, vintage="5m")

    def test_the_state_before_a_lost_one_is_not_taken_for_it(self, history: RecordedHistory) -> None:
        recorded = history.job([hour("01T10")])
        history.record()
        lost = history.job([hour("01T10", "2")])
        last = history.job([hour("01T10", "3")])
        history.expire(recorded)
        # The state of the checkpoint ended at an unknown time.
        for moment in (recorded.seen_at, lost.seen_at):
            with pytest.raises(
                InputError, match=rf"before the ledger recorded them: available from {iso(last.seen_at)}"
            ):
                closes(history, as_of=moment)

    def test_times_before_a_recorded_gap_are_refused(self, history: RecordedHistory) -> None:
        first = history.job([hour("01T10")])
        second = history.job([hour("01T10", "2")])
        last = history.job([hour("01T10", "3")])
        history.record(2)
        gap = {**history.publication(3).__dict__, "trigger": "gap", "deleted_partitions": []}
        append(history.settings, history.settings.publications_contract, "visible_at", [gap])
        with pytest.raises(InputError, match=f"are not known: available from {iso(last.seen_at)}"):
            closes(history, as_of=second.seen_at)
        with pytest.raises(InputError, match="is before a gap: available from"):
            closes(history, as_of_snapshot=first.snapshot)
        assert closes(history, as_of=last.seen_at) == ["01T10 3"]


class TestRetention:
    @pytest.fixture
    def retired(self, history: RecordedHistory) -> RecordedHistory:
        history.job([hour("01T10"), hour("02T10"), hour("03T10")])
        history.job([hour("01T10", "2"), hour("03T10", "2")])
        history.retire(date(2026, 3, 1), date(2026, 3, 2))
        history.job([hour("01T10", "9")])
        history.record()
        return history

    def test_a_range_that_was_deleted_later_is_refused(self, retired: RecordedHistory) -> None:
        first = retired.states[0]
        with pytest.raises(InputError, match=r"^retention has deleted 1h .*: available for windows from 2026-03-03$"):
            closes(retired, as_of=first.seen_at, start=at("2026-03-02T23:00"))
        with pytest.raises(InputError, match=r"available for windows from 2026-03-02$"):
            closes(retired, as_of=first.seen_at, start=at("2026-02-01T00:00"), end=at("2026-03-02T00:00"))
        assert closes(retired, as_of=first.seen_at, start=at("2026-03-03T00:00")) == ["03T10 1"]
        assert closes(retired, as_of=first.seen_at, start=at("2026-02-01T00:00"), end=at("2026-03-01T00:00")) == []

    def test_without_a_start_deleted_windows_are_left_out(self, retired: RecordedHistory) -> None:
        table = read_past_candles(retired.settings, HOUR, as_of=retired.states[1].seen_at)
        assert window_starts(table) == ["2026-03-03T10:00"]
        assert table.schema.metadata[b"ohlcv.available_from"] == b"2026-03-03T00:00:00Z"
        assert closes(retired, vintage="3d") == ["03T10 2"]

    def test_a_deleted_candle_that_was_built_again_is_new(self, history: RecordedHistory) -> None:
        history.job([hour("01T10"), hour("03T10")])
        history.commit([hour("01T10", "2"), hour("03T10")], trigger="other writer")
        deleted = history.retire(date(2026, 3, 1))
        again = history.job([hour("01T10", "9")])
        history.record()
        assert closes(history, as_of=deleted.seen_at) == ["03T10 1"]
        assert closes(history, as_of=again.seen_at) == ["01T10 9", "03T10 1"]

    def test_after_the_deletion_everything_is_available(self, retired: RecordedHistory) -> None:
        deleted, last = retired.states[2:]
        assert closes(retired, as_of=deleted.seen_at, start=at("2026-03-01T00:00")) == ["03T10 2"]
        assert closes(retired, as_of=last.seen_at, start=at("2026-03-01T00:00")) == ["01T10 9", "03T10 2"]


class TestReads:
    @pytest.fixture
    def days(self, settings: Settings) -> RecordedHistory:
        """Store 1m candles of eight days, one day after the other."""
        history = RecordedHistory(settings, MINUTE, at("2026-03-01T10:00"))
        for day in range(1, 9):
            history.now = at(f"2026-03-{day:02}T10:05")
            history.job([candle(MINUTE, f"2026-03-{day:02}T10:{minute:02}", str(day)) for minute in (0, 1)])
        history.record()
        return history

    def test_the_newest_windows_read_few_partitions(self, days: RecordedHistory, scans: list[Scan]) -> None:
        found = read_past_candles(days.settings, MINUTE, newest=2, as_of=days.states[4].seen_at)
        assert window_starts(found) == ["2026-03-05T10:00", "2026-03-05T10:01"]
        assert [day for day in dates_read(scans) if day.startswith("2026")] == ["2026-03-05"]

    def test_a_range_reads_only_the_files_of_its_days(self, days: RecordedHistory, scans: list[Scan]) -> None:
        span: Row = {"start": at("2026-03-02T00:00"), "end": at("2026-03-04T00:00")}
        assert len(read_past_candles(days.settings, MINUTE, **span, as_of=days.states[4].seen_at)) == 4
        assert dates_read(scans) == ["2026-03-02", "2026-03-03"]

    def test_the_newest_windows_that_the_ledger_began_with(self, history: RecordedHistory) -> None:
        # Created later than main moved, by the clock of the writer.
        late = {
            "created_at": NOON + timedelta(minutes=1, seconds=2),
            "updated_at": NOON + timedelta(minutes=1, seconds=2),
        }
        first = history.commit([hour("01T10", **late)], "other writer")
        history.job([hour("02T10")])
        history.job([hour("03T10")])
        history.record()
        assert closes(history, as_of=first.seen_at) == ["01T10 1"]
        assert closes(history, as_of=first.seen_at, newest=1) == ["01T10 1"]

    def test_the_newest_windows_if_a_later_writer_had_a_late_clock(self, history: RecordedHistory) -> None:
        first = history.job([hour("01T10")])
        second = history.job([hour("02T10")])
        stamp = NOON - timedelta(minutes=10)
        history.commit([*history.rows, hour("03T10", created_at=stamp, updated_at=stamp)], written_at=stamp)
        last = history.job([hour("04T10")])
        history.record()
        history.expire(last)
        # The ledger began with the first candle, the second publication inserted the other one.
        for newest in (None, 10):
            assert closes(history, as_of=first.seen_at, newest=newest) == ["01T10 1"]
            assert closes(history, as_of=second.seen_at, newest=newest) == ["01T10 1", "02T10 1"]

    def test_the_newest_windows_of_a_vintage(self, days: RecordedHistory) -> None:
        found = read_past_candles(days.settings, MINUTE, newest=1, vintage="10m")
        assert window_starts(found) == ["2026-03-08T10:01"]

    def test_the_newest_windows_of_a_day_whose_candles_were_deleted(self, days: RecordedHistory) -> None:
        before = days.states[-1]
        days.job(deleted=[row for row in days.rows if row["window_date"] == date(2026, 3, 8)])
        days.record()
        found = read_past_candles(days.settings, MINUTE, newest=1, as_of=before.seen_at)
        assert window_starts(found) == ["2026-03-08T10:01"]


class TestInvalidRequests:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                {"as_of": datetime(2200, 1, 1, tzinfo=UTC)},
                "as-of 2200-01-01T00:00:00Z is in the future: give a time up",
            ),
            (
                {"as_of": NOON},
                "1h candles as of 2026-03-01T12:00:00Z are not known: available from 2026-03-01T12:01:00Z",
            ),
            ({"vintage": "-5m"}, "vintage '-5m' must be more than zero and at most 100 years: give first, or a time"),
            ({"vintage": "0s"}, "vintage '0s' must be more than zero"),
            ({"vintage": "999999999d"}, "vintage '999999999d' must be more than zero and at most"),
            ({"vintage": timedelta(0)}, "vintage '0:00:00' must be more than zero"),
            ({"vintage": "soon"}, "'soon' is no vintage: give first, or a duration such as 30s, 5m, 2h or 1d"),
            ({"vintage": "5m", "as_of": NOON}, "give one of as-of, as-of-snapshot and vintage"),
            ({}, "give one of as-of, as-of-snapshot and vintage"),
            ({"vintage": "1h", "start": NOON, "end": NOON}, "start 2026-03-01T12:00:00Z must be before end"),
            ({"vintage": "1h", "newest": 0}, "the number of newest windows must be 1 or more"),
        ],
        ids=str,
    )
    def test_an_invalid_request_is_one_line(
        self, stored: RecordedHistory, arguments: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(InputError) as caught:
            read_past_candles(stored.settings, HOUR, **arguments)
        assert str(caught.value).startswith(message)
        assert len(str(caught.value).splitlines()) == 1

    def test_an_unknown_series_is_refused(self, stored: RecordedHistory) -> None:
        moment = stored.states[0].seen_at
        with pytest.raises(
            UnknownSeriesError, match=r"^no 1h candle has symbol 'DOGE' and exchange 'X': correct the names$"
        ):
            read_past_candles(stored.settings, HOUR, "DOGE", "X", as_of=moment)
        assert len(read_past_candles(stored.settings, HOUR, "BTC", "X", as_of=moment, end=at("2026-01-01"))) == 0
