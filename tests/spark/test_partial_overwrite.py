"""Large partitions: a run writes anew only the files that its windows lie in, and answers as if it wrote all."""

from __future__ import annotations

from datetime import datetime, timedelta
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohlcv.model.intervals import EPOCH
from spark_jobs.iceberg import partial_overwrite as settled
from spark_jobs.iceberg.partial_overwrite import FileBounds, plan_overwrite
from support.harness import Harness, at, trade

NOON = at("2026-03-01 12:00")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settled, "MAX_SINGLE_FILE_ROWS", 50)


def minutes(number: int) -> datetime:
    return EPOCH + number * MINUTE


# Few minutes, so that files often end where others begin.
FILES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10), st.integers(1, 60)), max_size=8)


@given(drawn=FILES, first=st.integers(0, 40))
def test_no_file_is_cut(drawn: list[tuple[int, int, int]], first: int) -> None:
    files = [FileBounds((minutes(begin), minutes(begin + length)), rows) for begin, length, rows in drawn]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settled, "MAX_SINGLE_FILE_ROWS", 50)
        found = plan_overwrite(files, minutes(first))
    if found.begin is None:
        assert sum(file.rows for file in files) <= 50
        return
    spans = [file.windows for file in files if file.windows]
    assert all(last < found.begin or found.begin <= begin for begin, last in spans)
    # No earlier than it takes.
    assert found.begin in {minutes(first), *(begin for begin, last in spans if last >= found.begin)}
    assert found.begin <= minutes(first)
    rows = sum(file.rows for file in files if file.windows and file.windows[0] >= found.begin)
    assert (found.settled is not None) == (rows > 50)


def test_a_file_that_does_not_tell_is_written_anew(few_are_many: None) -> None:
    known, unknown = FileBounds((minutes(0), minutes(9)), 60), FileBounds(None, 1)
    assert plan_overwrite([known], minutes(600)).begin == minutes(600)
    assert plan_overwrite([known, unknown], minutes(600)).begin is None


def files_of(harness: Harness, timeframe: str = "1m") -> dict[str, int]:
    tasks = harness.table(timeframe).scan().plan_files()
    return {urlsplit(task.file.file_path).path: task.file.record_count for task in tasks}


def traded(begin: datetime, count: int) -> list[tuple[datetime, str]]:
    return [(begin + number * MINUTE, str(100 + number % 7)) for number in range(count)]


def test_runs_leave_alone_what_has_settled(harness: Harness, few_are_many: None) -> None:
    harness.load(trade(time, price) for time, price in traded(NOON, 180))
    seen: list[dict[str, int]] = []
    for end in range(30, 181, 10):
        harness.build("1m", NOON + (end - 20) * MINUTE, NOON + end * MINUTE)
        seen.append(files_of(harness))
    assert harness.candles("1m") == harness.expected("1m", (NOON + 10 * MINUTE, NOON + 180 * MINUTE)).candles
    # The first run of an hour that finds many rows sets the earlier hours apart, and those after it let them be.
    assert [len(files) for files in seen] == [1] * 5 + [2] * 6 + [3] * 5
    assert sorted(seen[-1].values()) == [50, 60, 60]
    (settled_first,) = (path for path, rows in seen[5].items() if rows == 50)
    assert all(settled_first in files for files in seen[5:])


def test_late_trades_reach_settled_candles(harness: Harness, few_are_many: None) -> None:
    harness.load(trade(time, price) for time, price in traded(NOON, 240))
    for end in (60, 120, 180, 240):
        harness.build("1m", NOON + (end - 60) * MINUTE, NOON + end * MINUTE, repair=True)
    before = files_of(harness)
    assert len(before) > 1
    harness.load([trade(NOON + timedelta(minutes=70, seconds=30), "999")])
    report = harness.build("1m", NOON + 230 * MINUTE, NOON + 240 * MINUTE, repair=True)
    assert report["candles"]["updated"] == 1
    assert harness.candles("1m") == harness.expected("1m", (NOON, NOON + 240 * MINUTE)).candles


def test_a_run_over_midnight_and_a_rerun(harness: Harness, few_are_many: None) -> None:
    begin = at("2026-03-01 22:00")
    harness.load(trade(time, price) for time, price in traded(begin, 240))
    harness.build("1m", begin, begin + 110 * MINUTE)
    harness.build("1m", begin + 100 * MINUTE, begin + 240 * MINUTE)
    harness.build("1m", begin + 230 * MINUTE, begin + 240 * MINUTE)
    metadata = harness.table("1m").metadata_location
    harness.build("1m", begin, begin + 240 * MINUTE)
    assert harness.table("1m").metadata_location == metadata
    assert harness.candles("1m") == harness.expected("1m", (begin, begin + 240 * MINUTE)).candles


def test_candles_without_trades_go_from_settled_files_too(harness: Harness, few_are_many: None) -> None:
    harness.load(trade(time, price) for time, price in traded(NOON, 180))
    for end in (60, 120, 180):
        harness.build("1m", NOON + (end - 60) * MINUTE, NOON + end * MINUTE)
    harness.sql(
        f"DELETE FROM {{trades}} WHERE timestamp >= {int((NOON + 5 * MINUTE).timestamp()) * 10**6} "
        f"AND timestamp < {int((NOON + 9 * MINUTE).timestamp()) * 10**6}"
    )
    report = harness.build("1m", NOON, NOON + 60 * MINUTE)
    assert report["candles"]["deleted"] == 4
    assert len(harness.candles("1m")) == 176
