"""Partial overwrites of large partitions: only affected files are replaced, and the candles are the same."""

from __future__ import annotations

from datetime import datetime, timedelta
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohlcv.model.intervals import EPOCH
from spark_jobs.iceberg import partial_overwrite
from spark_jobs.iceberg.partial_overwrite import FileBounds, plan_overwrite
from support.harness import Harness, at, trade

NOON = at("2026-03-01 12:00")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def small_file_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partial_overwrite, "MAX_SINGLE_FILE_ROWS", 50)


def minutes(number: int) -> datetime:
    return EPOCH + number * MINUTE


# Few minutes, so that many files end where others begin.
FILES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10), st.integers(1, 60)), max_size=8)


@given(drawn=FILES, first=st.integers(0, 40))
def test_no_file_is_replaced_in_part(drawn: list[tuple[int, int, int]], first: int) -> None:
    files = [FileBounds((minutes(begin), minutes(begin + length)), rows) for begin, length, rows in drawn]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partial_overwrite, "MAX_SINGLE_FILE_ROWS", 50)
        found = plan_overwrite(files, minutes(first))
    if found.start is None:
        assert sum(file.rows for file in files) <= 50
        return
    spans = [file.windows for file in files if file.windows]
    assert all(last < found.start or found.start <= begin for begin, last in spans)
    # The part starts no earlier than necessary.
    assert found.start in {minutes(first), *(begin for begin, last in spans if last >= found.start)}
    assert found.start <= minutes(first)
    rows = sum(file.rows for file in files if file.windows and file.windows[0] >= found.start)
    assert (found.cold_before is not None) == (rows > 50)


def test_a_file_without_statistics_is_replaced(small_file_limit: None) -> None:
    known, unknown = FileBounds((minutes(0), minutes(9)), 60), FileBounds(None, 1)
    assert plan_overwrite([known], minutes(600)).start == minutes(600)
    assert plan_overwrite([known, unknown], minutes(600)).start is None


def files_of(harness: Harness, timeframe: str = "1m") -> dict[str, int]:
    tasks = harness.table(timeframe).scan().plan_files()
    return {urlsplit(task.file.file_path).path: task.file.record_count for task in tasks}


def minute_prices(begin: datetime, count: int) -> list[tuple[datetime, str]]:
    return [(begin + number * MINUTE, str(100 + number % 7)) for number in range(count)]


@pytest.mark.spark_cases
def test_runs_do_not_rewrite_files_of_cold_rows(harness: Harness, small_file_limit: None) -> None:
    harness.load(trade(time, price) for time, price in minute_prices(NOON, 180))
    files_by_run: list[dict[str, int]] = []
    for end in range(30, 181, 10):
        harness.build("1m", NOON + (end - 20) * MINUTE, NOON + end * MINUTE)
        files_by_run.append(files_of(harness))
    assert harness.candles("1m") == harness.expected("1m", (NOON + 10 * MINUTE, NOON + 180 * MINUTE)).candles
    # The first run of an hour with many rows moves the earlier hours to a file; later runs do not touch it.
    assert [len(files) for files in files_by_run] == [1] * 5 + [2] * 6 + [3] * 5
    assert sorted(files_by_run[-1].values()) == [50, 60, 60]
    (cold_file,) = (path for path, rows in files_by_run[5].items() if rows == 50)
    assert all(cold_file in files for files in files_by_run[5:])


def test_late_trades_update_cold_candles(harness: Harness, small_file_limit: None) -> None:
    harness.load(trade(time, price) for time, price in minute_prices(NOON, 240))
    for end in (60, 120, 180, 240):
        harness.build("1m", NOON + (end - 60) * MINUTE, NOON + end * MINUTE, rebuild_pending=True)
    before = files_of(harness)
    assert len(before) > 1
    harness.load([trade(NOON + timedelta(minutes=70, seconds=30), "999")])
    report = harness.build("1m", NOON + 230 * MINUTE, NOON + 240 * MINUTE, rebuild_pending=True)
    assert report["candles"]["updated"] == 1
    assert harness.candles("1m") == harness.expected("1m", (NOON, NOON + 240 * MINUTE)).candles


def test_a_run_across_midnight_and_its_rerun(harness: Harness, small_file_limit: None) -> None:
    begin = at("2026-03-01 22:00")
    harness.load(trade(time, price) for time, price in minute_prices(begin, 240))
    harness.build("1m", begin, begin + 110 * MINUTE)
    harness.build("1m", begin + 100 * MINUTE, begin + 240 * MINUTE)
    harness.build("1m", begin + 230 * MINUTE, begin + 240 * MINUTE)
    metadata = harness.table("1m").metadata_location
    harness.build("1m", begin, begin + 240 * MINUTE)
    assert harness.table("1m").metadata_location == metadata
    assert harness.candles("1m") == harness.expected("1m", (begin, begin + 240 * MINUTE)).candles


def test_candles_without_trades_are_deleted_from_cold_files(harness: Harness, small_file_limit: None) -> None:
    harness.load(trade(time, price) for time, price in minute_prices(NOON, 180))
    for end in (60, 120, 180):
        harness.build("1m", NOON + (end - 60) * MINUTE, NOON + end * MINUTE)
    harness.sql(
        f"DELETE FROM {{trades}} WHERE timestamp >= {int((NOON + 5 * MINUTE).timestamp()) * 10**6} "
        f"AND timestamp < {int((NOON + 9 * MINUTE).timestamp()) * 10**6}"
    )
    report = harness.build("1m", NOON, NOON + 60 * MINUTE)
    assert report["candles"]["deleted"] == 4
    assert len(harness.candles("1m")) == 176
