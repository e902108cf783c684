"""Stored results: the latest comparison of each window, in one commit or none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from pyiceberg.table import Table

from ohlcv.config.settings import Settings
from ohlcv.iceberg.file_commits import commit_files
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.iceberg.write_lock import write_lock
from ohlcv.model.errors import OhlcvError
from ohlcv.reconciliation import results
from support.candle_rows import DAY, HOUR, MINUTE, Row
from support.coverage_rows import hour_row, note, write_coverage, write_notes
from support.published_candles import NOW, random_candles

pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")
LATER = NOW + timedelta(hours=1)
# The last hours of March and the first ones of April.
TURN = datetime.fromisoformat("2026-03-31T22:00:00+00:00")


@pytest.fixture
def table(settings: Settings) -> Callable[[], Table]:
    return lambda: load_table(open_catalog(settings), settings.reconciliation_contract)


def stored(table: Table) -> list[Row]:
    rows: list[Row] = table.scan().to_arrow().to_pylist()
    return sorted(rows, key=lambda row: (row["exchange"], row["window_start"]))


def files(table: Table) -> set[str]:
    return {task.file.file_path for task in table.scan().plan_files()}


def test_every_window_of_a_file_has_a_result(run: Any, table: Any) -> None:
    ours = random_candles(1, 4, HOUR)
    theirs = [ours[0], replace(ours[1], close=ours[1].close + 1), *ours[3:]]
    report = run(ours, theirs, timeframe=HOUR)
    rows = stored(table())
    assert [row["result"] for row in rows] == ["equal", "different", "only ours", "equal"]
    assert [row["fields"] for row in rows][:2] == [[], ["close"]]
    assert (rows[0]["differences"], rows[0]["evidence"]) == (None, [])
    assert '"field": "close"' in rows[1]["differences"]
    common = {"venue": "X", "exchange": "X", "symbol": "BTC", "timeframe": "1h", "file": "candles", "compared_at": NOW}
    assert all(row.items() >= common.items() for row in rows)
    assert [row["window_start"] for row in rows] == [each.start for each in ours]
    assert (report.written, rows[0]["candles_snapshot"]) == (4, report.results.candles_snapshot)


def test_an_equal_result_is_not_stored_again(run: Any, table: Any) -> None:
    ours = random_candles(2, 3, HOUR)
    run(ours, ours, timeframe=HOUR)
    before = table().metadata_location
    assert run([], ours, timeframe=HOUR, now=LATER).written == 0
    assert table().metadata_location == before


def test_only_changed_results_and_partitions_are_written(run: Any, table: Any) -> None:
    ours = random_candles(3, 4, HOUR, TURN)
    options = {"timeframe": HOUR, "fetched_at": TURN + timedelta(days=1)}
    run(ours, ours, **options, now=TURN + timedelta(days=2))
    march, april = sorted(files(table()))
    before = table().metadata.snapshots
    theirs = [*ours[:3], replace(ours[3], close=ours[3].close + 1)]
    assert run([], theirs, **options, now=TURN + timedelta(days=3)).written == 1
    assert len(files(table()) & {march, april}) == 1
    assert len(table().metadata.snapshots) == len(before) + 1
    rows = stored(table())
    assert [row["result"] for row in rows] == ["equal"] * 3 + ["different"]
    assert [(row["compared_at"] - TURN).days for row in rows] == [2, 2, 2, 3]


def test_results_of_other_series_and_windows_stay(run: Any, table: Any) -> None:
    ours = random_candles(4, 5, HOUR)
    run(ours, ours, timeframe=HOUR)
    run(ours, ours, timeframe=HOUR, exchange="Y")
    run([], [replace(ours[2], close=ours[2].close + 1)], timeframe=HOUR)
    found = [(row["exchange"], row["result"]) for row in stored(table())]
    assert found == [("X", "equal")] * 2 + [("X", "different")] + [("X", "equal")] * 2 + [("Y", "equal")] * 5


def test_results_of_other_series_in_the_same_file_stay(run: Any, table: Any, settings: Settings) -> None:
    ours = random_candles(12, 2, HOUR)
    for exchange in ("X", "Z"):
        run(ours, ours, timeframe=HOUR, exchange=exchange)
    # One file has both series, as after a compaction.
    catalog, stored_table = open_catalog(settings), table()
    rows = stored_table.scan().to_arrow()
    removed = [task.file for task in stored_table.scan().plan_files()]
    partition = removed[0].partition
    contract = settings.reconciliation_contract
    commit_files(catalog, contract, stored_table, [(partition, rows)], removed, lambda: None)
    run([], [replace(ours[0], close=ours[0].close + 1), ours[1]], timeframe=HOUR)
    found = [(row["exchange"], row["result"]) for row in stored(table())]
    assert found == [("X", "different"), ("X", "equal"), ("Z", "equal"), ("Z", "equal")]


def test_a_window_without_candles_loses_its_result(run: Any, table: Any, settings: Settings) -> None:
    ours = random_candles(5, 3, HOUR)
    assert run([ours[0], ours[2]], ours, timeframe=HOUR).counts["only theirs"] == 1
    assert run([], [ours[0], ours[2]], timeframe=HOUR).written == 1
    assert [row["window_start"] for row in stored(table())] == [ours[0].start, ours[2].start]


def test_the_results_of_a_month_stay_in_its_partition(run: Any, table: Any) -> None:
    ours = random_candles(6, 3, DAY, TURN.replace(hour=0))
    later = TURN + timedelta(days=9)
    run(ours, ours, timeframe=DAY, fetched_at=later, now=later)
    found = {tuple(task.file.partition)[:2] for task in table().scan().plan_files()}
    assert found == {("1d", 674), ("1d", 675)}


def test_a_failed_commit_changes_nothing(run: Any, table: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = random_candles(7, 2, HOUR)
    run(ours, ours, timeframe=HOUR)
    before, written = stored(table()), files(table())

    def killed(*arguments: Any) -> None:
        raise KeyboardInterrupt

    theirs = [ours[0], replace(ours[1], close=ours[1].close + 1)]
    with monkeypatch.context() as patch:
        patch.setattr(results, "commit_files", killed)
        with pytest.raises(KeyboardInterrupt):
            run([], theirs, timeframe=HOUR)
    assert (stored(table()), files(table())) == (before, written)
    assert run([], theirs, timeframe=HOUR).written == 1
    assert run([], theirs, timeframe=HOUR).written == 0


def test_results_are_written_under_the_lock(run: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = random_candles(8, 1, HOUR)
    monkeypatch.setattr(
        results, "write_lock", lambda settings, contract: write_lock(settings, contract, wait_seconds=0)
    )
    with (
        write_lock(settings, settings.reconciliation_contract),
        pytest.raises(OhlcvError, match="is locked by process"),
    ):
        run(ours, ours, timeframe=HOUR)


def test_differences_have_evidence_of_their_hours(run: Any, table: Any, settings: Settings) -> None:
    ours = random_candles(9, 4, HOUR)
    rows = [
        hour_row(0, range(100)),
        hour_row(1, [*range(100, 120), *range(130, 200)], delays=[80, 0, 0, 6, 1, 2, 0, 1, 0]),
        hour_row(2, range(200, 300), rejected_bad_price=2, rejected_null_key=1),
        hour_row(3, range(300, 400)),
    ]
    write_coverage(settings, rows, until=4)
    write_notes(settings, note("outage", 2, 3), note("expected", 0))
    theirs = [ours[0], *(replace(each, close=each.close + 1) for each in ours[1:])]
    run(ours, theirs, timeframe=HOUR)
    assert [row["evidence"] for row in stored(table())][:3] == [
        [],
        ["sequence gaps", "10 source sequences missing", "4 trades arrived more than 1 min late"],
        [
            "no gap",
            "1 trades rejected: null_key",
            "2 trades rejected: bad_price",
            "note outage-2 (outage, Ann): announced",
        ],
    ]


def test_the_evidence_of_a_shorter_window_is_of_its_hour(run: Any, table: Any, settings: Settings) -> None:
    ours = random_candles(9, 1, MINUTE)
    delays = [80, 0, 0, 0, 0, 1, 0, 0, 0]
    write_coverage(settings, [hour_row(0, [*range(9), 10], delays=delays, rejected_bad_price=2)], until=1)
    run(ours, [replace(ours[0], close=ours[0].close + 1)], timeframe=MINUTE)
    assert stored(table())[0]["evidence"] == [
        "sequence gaps in its hour",
        "1 source sequences missing in its hour",
        "2 trades rejected in its hour: bad_price",
        "1 trades arrived more than 1 min late in its hour",
    ]


def test_a_day_has_the_evidence_of_all_its_hours(run: Any, table: Any, settings: Settings) -> None:
    ours = random_candles(10, 1, DAY)
    numbers = [range(hour * 10, hour * 10 + 10 - (hour in (3, 5))) for hour in range(24)]
    write_coverage(settings, [hour_row(hour, each) for hour, each in enumerate(numbers)], until=24)
    run(ours, [replace(ours[0], close=ours[0].close + 1)], timeframe=DAY)
    evidence = stored(table())[0]["evidence"]
    assert "2 source sequences missing" in evidence
    assert any(text.startswith("sequence gaps: ") for text in evidence)


def test_without_coverage_the_evidence_says_so(run: Any, table: Any, settings: Settings) -> None:
    ours = random_candles(11, 1, MINUTE)
    theirs = [replace(ours[0], close=ours[0].close + 1)]
    assert run(ours, theirs).notes == ()
    assert stored(table())[0]["evidence"] == ["no coverage of the trades is recorded"]
    open_catalog(settings).drop_table(settings.coverage_contract.identifier)
    assert "no evidence: there is no table" in run([], theirs).notes[0]
