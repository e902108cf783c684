"""Recording of the coverage: which hours are counted, what stays as it is, and what is stored with it."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.expressions.visitors import _ManifestEvalVisitor
from pyiceberg.manifest import ManifestFile

from ohlcv.config.settings import Settings
from ohlcv.coverage import recording
from ohlcv.coverage.recording import record_coverage
from ohlcv.iceberg.file_commits import commit_files, read_file
from ohlcv.ingest.formats import TRADE_SCHEMA
from ohlcv.model.errors import EqualityDeletesError, MissingTableError, OhlcvError
from ohlcv.readers.trades import load_trades
from support.coverage_site import HOUR, NOW, CoverageSite, contract_rows, delivery
from support.reference_model import TRADE_COLUMNS


@pytest.fixture
def site(settings: Settings) -> CoverageSite:
    return CoverageSite(settings)


def test_the_first_recording_counts_every_hour(site: CoverageSite) -> None:
    snapshot = site.deliver(delivery(1), delivery(hour=HOUR - 100))
    report = site.record()
    site.assert_recorded()
    assert {row["trades_snapshot"] for row in site.rows()} == {snapshot}
    assert (report.hours, report.series, report.deliveries) == (2, 1, 2)
    assert report.full == "nothing has been recorded before"
    properties = site.properties()
    assert properties.pop("trades-metadata") == site.trades_table().metadata_location
    assert properties.pop("snapshot") == str(site.coverage_table().snapshots()[0].snapshot_id)
    assert properties == {"trades-snapshot": str(snapshot), "pending-hours": "", "until": "2026-03-01T13:00:00Z"}


def test_only_hours_whose_files_changed_are_counted(site: CoverageSite) -> None:
    site.deliver(delivery(1), delivery(hour=HOUR - 100))
    site.record()
    site.deliver(delivery(2, "2", hour=HOUR - 100))
    report = site.record()
    assert (report.hours, report.deliveries, report.full) == (1, 2, None)
    site.assert_recorded()


def test_a_recording_without_changes_commits_nothing(site: CoverageSite) -> None:
    site.deliver(delivery(1))
    site.record()
    metadata, files = site.coverage_table().metadata_location, site.files()
    report = site.record()
    assert (report.hours, report.deliveries) == (0, 0)
    assert site.coverage_table().metadata_location == metadata
    assert site.files() == files


def test_an_hour_without_changes_moves_only_the_time_until_which_hours_are_counted(site: CoverageSite) -> None:
    site.deliver(delivery(1))
    site.record()
    snapshots = len(site.coverage_table().snapshots())
    site.now += timedelta(hours=1)
    site.record()
    assert site.properties()["until"] == "2026-03-01T14:00:00Z"
    assert len(site.coverage_table().snapshots()) == snapshots


def test_equal_rows_are_not_rewritten(site: CoverageSite) -> None:
    first = site.deliver(delivery(1))
    site.record()
    files = {task.file.file_path for task in site.coverage_table().scan().plan_files()}
    # The same deliveries in other files.
    second = site.replace(*site.trades)
    report = site.record()
    assert report.hours == 1
    assert {task.file.file_path for task in site.coverage_table().scan().plan_files()} == files
    assert site.row()["trades_snapshot"] == first
    assert site.properties()["trades-snapshot"] == str(second)


def test_a_row_keeps_the_snapshot_in_which_it_was_found_first(site: CoverageSite) -> None:
    first = site.deliver(delivery(1), delivery(1, symbol="ETH"))
    site.record()
    second = site.deliver(delivery(2, "2", symbol="ETH"))
    site.record()
    assert [(row["symbol"], row["trades_snapshot"]) for row in site.rows()] == [("BTC", first), ("ETH", second)]
    site.assert_recorded()


def test_only_the_days_that_change_are_rewritten(site: CoverageSite) -> None:
    site.deliver(delivery(1), delivery(hour=HOUR - 24))
    site.record()
    before = {task.file.partition[0]: task.file.file_path for task in site.coverage_table().scan().plan_files()}
    site.deliver(delivery(2, "2"), delivery(hour=HOUR - 25, symbol=None))
    site.record()
    after = {task.file.partition[0]: task.file.file_path for task in site.coverage_table().scan().plan_files()}
    assert len(before) == len(after) == 2
    assert not set(before.values()) & set(after.values())
    site.deliver(delivery(3, "3"))
    site.record()
    newest = {task.file.partition[0]: task.file.file_path for task in site.coverage_table().scan().plan_files()}
    assert [day for day in newest if newest[day] != after[day]] == [HOUR // 24]
    site.assert_recorded()


def test_an_hour_without_deliveries_keeps_its_rows_as_expired(site: CoverageSite) -> None:
    first = site.deliver(delivery(1), delivery(hour=HOUR - 1))
    site.record()
    site.assert_recorded()
    site.delete(HOUR - 1)
    report = site.record()
    assert (report.hours, report.expired_hours) == (1, 1)
    assert [(row["source_expired"], row["trades_snapshot"]) for row in site.rows()] == [(True, first), (False, first)]
    site.assert_recorded()
    # Nothing changes until the hour has deliveries again.
    site.deliver(delivery(2, "2"))
    assert site.record().expired_hours == 0
    site.deliver(delivery(2, "2", hour=HOUR - 1))
    site.record()
    site.assert_recorded()
    assert not any(row["source_expired"] for row in site.rows())


def test_a_series_without_deliveries_in_an_hour_that_has_some_has_no_row(site: CoverageSite) -> None:
    site.deliver(delivery(1), delivery(1, symbol="ETH"))
    site.record()
    site.replace(delivery(1))
    site.record()
    assert site.row()["symbol"] == "BTC"


def test_newer_hours_are_counted_first_and_the_others_are_pending(site: CoverageSite) -> None:
    site.deliver(*(delivery(1, hour=HOUR - number) for number in range(4)), delivery(2, "2", hour=HOUR - 1))
    report = site.record(max_trades=3)
    assert (report.hours, report.pending_hours) == (2, 2)
    assert {hour for _, _, hour in site.facts()} == {HOUR, HOUR - 1}
    assert site.properties()["pending-hours"] == "2026-03-01T09..2026-03-01T10"
    # At least one hour is counted.
    report = site.record(max_trades=0)
    assert (report.hours, report.pending_hours, report.full) == (1, 1, None)
    report = site.record()
    assert (report.hours, report.pending_hours) == (1, 0)
    site.assert_recorded()


def test_a_recording_reads_a_limited_number_of_stored_rows(site: CoverageSite, monkeypatch: pytest.MonkeyPatch) -> None:
    hours = [HOUR - 24 * number for number in range(5)]
    series = ("BTC", "ETH")
    first = site.deliver(
        *(delivery(1, hour=hour - after, symbol=name) for hour in hours for after in (0, 1) for name in series)
    )
    site.record()
    site.assert_recorded()
    site.replace()
    site.trades_table().maintenance.expire_snapshots().by_id(first).commit()
    rows: list[int] = []

    def counted(*arguments: Any) -> pa.Table:
        found = read_file(*arguments)
        rows[-1] += len(found)
        return found

    monkeypatch.setattr(recording, "read_file", counted)
    pending: list[int] = []
    while not pending or pending[-1]:
        rows.append(0)
        report = site.record(max_rows=9)
        pending.append(report.pending_hours)
        assert report.expired_hours == report.hours
    assert (pending, rows) == ([6, 2, 0], [8, 8, 4])
    site.assert_recorded()
    # At least one day is read.
    site.deliver(delivery(2, "2"), delivery(2, "2", hour=HOUR - 24))
    assert [site.record(max_rows=0).hours for _ in range(3)] == [1, 1, 0]
    site.assert_recorded()


def test_hours_that_have_not_begun_are_pending(site: CoverageSite) -> None:
    site.deliver(delivery(1, hour=HOUR + 1), delivery(1, hour=HOUR + 2))
    report = site.record()
    # The hour that is not over is counted.
    assert {hour for _, _, hour in site.facts()} == {HOUR + 1}
    assert report.pending_hours == 0
    assert site.properties()["pending-hours"] == "2026-03-01T14"
    site.now += timedelta(hours=1)
    assert site.record().hours == 1
    site.assert_recorded()


def test_every_hour_is_counted_again_after_the_checkpoint_has_expired(site: CoverageSite) -> None:
    first = site.deliver(delivery(1), delivery(hour=HOUR - 1))
    site.record()
    site.assert_recorded()
    site.delete(HOUR - 1)
    site.deliver(delivery(2, "2"))
    site.trades_table().maintenance.expire_snapshots().by_id(first).commit()
    report = site.record()
    assert report.full == f"the trades snapshot {first} of the last recording has expired"
    assert (report.hours, report.expired_hours) == (2, 1)
    site.assert_recorded()


def test_trades_that_were_rolled_back_are_counted_again(site: CoverageSite) -> None:
    first = site.deliver(delivery(1))
    trades = list(site.trades)
    site.deliver(delivery(2, "2"), delivery(hour=HOUR - 1))
    site.record()
    site.assert_recorded()
    site.trades_table().manage_snapshots().set_current_snapshot(snapshot_id=first).commit()
    site.trades = trades
    report = site.record()
    assert (report.hours, report.full) == (2, None)
    site.assert_recorded()
    assert site.properties()["trades-snapshot"] == str(first)


def roll_back(site: CoverageSite, position: int) -> None:
    """Roll the coverage back to an earlier snapshot. The properties of the table stay."""
    table = site.coverage_table()
    snapshot = table.snapshots()[position].snapshot_id
    table.manage_snapshots().set_current_snapshot(snapshot_id=snapshot).commit()


def test_every_hour_is_counted_again_after_a_rollback_of_the_coverage(site: CoverageSite) -> None:
    site.deliver(delivery(1))
    site.record()
    site.deliver(delivery(2, "2"), delivery(hour=HOUR - 1))
    site.record()
    roll_back(site, 0)
    report = site.record()
    assert (report.hours, report.full) == (2, "the coverage table was rolled back")
    site.assert_recorded()
    assert site.record().hours == 0
    assert site.properties()["snapshot"] == str(site.coverage_table().snapshots()[-1].snapshot_id)


def test_rows_that_a_rollback_left_correct_are_counted_again_once(site: CoverageSite) -> None:
    site.deliver(delivery(1))
    site.record()
    for trades in ((delivery(1), delivery(2, "2")), (delivery(1),)):
        site.replace(*trades)
        site.record()
    roll_back(site, 0)
    assert site.record().full == "the coverage table was rolled back"
    site.assert_recorded()
    assert site.record().full is None


def test_the_coverage_may_have_newer_snapshots_and_expired_ones(site: CoverageSite) -> None:
    site.deliver(delivery(1))
    site.record()
    recorded = int(site.properties()["snapshot"])
    table = site.coverage_table()
    # As a compaction and an expiry leave it.
    (task,) = table.scan().plan_files()
    rows = [(task.file.partition, read_file(table, task))]
    commit_files(site.catalog, site.settings.coverage_contract, table, rows, [task.file], lambda: None)
    assert site.record().full is None
    site.coverage_table().maintenance.expire_snapshots().by_id(recorded).commit()
    assert site.record().full is None


def test_deliveries_without_an_hour_are_not_counted(site: CoverageSite) -> None:
    site.deliver(delivery(1), delivery(1, exchange_hour=24), delivery(1, exchange_date=None))
    site.record()
    assert site.row()["deliveries"] == 1


def test_files_of_an_older_partition_spec_may_have_several_hours(site: CoverageSite) -> None:
    table = site.trades_table()
    with table.update_spec() as update:
        update.remove_field("exchange_hour")
    day = HOUR // 24 * 24
    rows = [delivery(1, hour=day), delivery(2, hour=day + 1), delivery(3, hour=day + 1, exchange_hour=24)]
    table.append(pa.Table.from_pylist(contract_rows(rows), schema=table.schema().as_arrow()))
    with table.update_spec() as update:
        update.add_identity("exchange_hour")
    site.trades = rows[:2]
    site.now += timedelta(days=1)
    site.record()
    site.assert_recorded()


def test_an_empty_trades_table_has_an_empty_coverage(site: CoverageSite) -> None:
    report = site.record()
    assert (report.trades_snapshot, report.hours, site.rows()) == (None, 0, [])
    assert site.properties() == {"pending-hours": "", "until": "2026-03-01T13:00:00Z"}
    site.deliver(delivery(1))
    assert site.record().hours == 1
    site.assert_recorded()


def test_a_missing_table_is_created_by_a_command(site: CoverageSite) -> None:
    site.catalog.drop_table(site.settings.names.coverage)
    with pytest.raises(MissingTableError) as caught:
        site.record()
    assert str(caught.value) == "there is no table market_data.gold_ohlcv_coverage: run 'ohlcv tables create'"


def test_the_catalog_is_opened_if_none_is_given(site: CoverageSite) -> None:
    site.deliver(delivery(1))
    assert record_coverage(site.settings, NOW).hours == 1


def test_equality_deletes_are_refused(site: CoverageSite) -> None:
    site.deliver(delivery(1))
    table = site.trades_table()
    table.append(table.schema().as_arrow().empty_table(), {"added-equality-deletes": "1"})
    with pytest.raises(EqualityDeletesError, match=r"^market_data\.gold_crypto_trades has equality deletes, which"):
        site.record()
    assert site.rows() == []


def test_files_of_another_writer_are_counted(site: CoverageSite) -> None:
    site.deliver(delivery(1))
    # Without the ids of Iceberg's fields.
    schema = pa.schema([TRADE_SCHEMA.field(name).remove_metadata() for name in TRADE_COLUMNS])
    rows = pa.Table.from_pylist(contract_rows([delivery(2, "2"), delivery(3, None)]), schema=schema)
    file = site.settings.home / "other.parquet"
    pq.write_table(rows, file)
    site.trades_table().add_files([file.as_uri()])
    site.trades += [delivery(2, "2"), delivery(3, None)]
    site.record()
    assert site.row()["rejected_null_key"] == 1
    site.assert_recorded()


def test_trades_that_are_added_while_the_tables_are_loaded_are_counted_once(
    site: CoverageSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.deliver(delivery(1))

    def deliver_and_record(*arguments: Any) -> Any:
        # Another task records newer trades after this one has loaded the coverage.
        monkeypatch.setattr(recording, "load_trades", load_trades)
        site.deliver(delivery(2, "2"))
        recording._Recorder(site.settings, NOW, site.catalog, lambda: None, lambda _: None).run(10**9)
        return load_trades(*arguments)

    monkeypatch.setattr(recording, "load_trades", deliver_and_record)
    with pytest.raises(OhlcvError, match="another task has changed"):
        site.record()
    site.assert_recorded()


def test_threads_of_a_commit_share_no_evaluator(site: CoverageSite, monkeypatch: pytest.MonkeyPatch) -> None:
    site.deliver(delivery(1))
    site.record()
    site.deliver(delivery(hour=HOUR - 24))
    site.record()
    site.deliver(delivery(2, "2"), delivery(2, "2", hour=HOUR - 24))
    used: list[_ManifestEvalVisitor] = []
    evaluate = _ManifestEvalVisitor.eval

    def noted(visitor: _ManifestEvalVisitor, manifest: ManifestFile) -> bool:
        if threading.current_thread() is not threading.main_thread():
            used.append(visitor)
        return evaluate(visitor, manifest)

    monkeypatch.setattr(_ManifestEvalVisitor, "eval", noted)
    site.record()
    site.assert_recorded()
    assert len(used) == len({id(each) for each in used}) > 1
