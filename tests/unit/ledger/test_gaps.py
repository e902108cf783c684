"""Histories that a catalog lost: gaps, and catalogs that show only the newest snapshot."""

from __future__ import annotations

import shutil
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import pytest
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import Table

from ohlcv.config.catalogs.adapters import Catalog
from ohlcv.config.settings import Settings
from ohlcv.iceberg.file_commits import commit_files
from ohlcv.iceberg.tables import create_tables
from ohlcv.ledger.recording import record
from ohlcv.ledger.status import ledger_status
from ohlcv.model.errors import EqualityDeletesError
from ohlcv.model.intervals import MICROSECOND
from ohlcv.model.ledger_records import Ledger
from ohlcv.readers.candles import read_candles
from support.candle_rows import MINUTE
from support.ledger_site import LedgerSite, candle


@pytest.fixture
def site(settings: Settings) -> LedgerSite:
    """Return a site with four publications, of which the first is recorded."""
    site = LedgerSite(settings)
    site.build(candle(1))
    site.record()
    for price in (2, 3, 4):
        site.build(candle(price))
    return site


def expire(table: Table, *positions: int) -> None:
    """Expire snapshots by their positions in the history, as a catalog may do by itself."""
    snapshots = [table.snapshots()[position].snapshot_id for position in positions]
    table.maintenance.expire_snapshots().by_ids(snapshots).commit()


def test_lost_publications_are_a_gap(site: LedgerSite) -> None:
    expire(site.table(), 0, 1)
    report = site.record()
    _, gap, newest = site.publications()
    assert (gap.number, gap.trigger, gap.is_base) == (2, "gap", True)
    assert (newest.number, newest.trigger) == (3, "scheduled")
    assert report.gap == gap.visible_at
    # The comparison begins again after the gap.
    assert site.changes() == [(3, "updated", "12:00", Decimal(3))]
    assert Ledger.of("1m", site.publications()).begins_at == gap.visible_at


def test_an_entry_that_is_missing_in_the_middle_of_the_log_is_a_gap(site: LedgerSite) -> None:
    expire(site.table(), 2)
    site.record()
    assert [each.trigger for each in site.publications()] == ["first", "scheduled", "gap"]
    assert site.changes() == [(2, "updated", "12:00", Decimal(1))]


def test_an_expired_snapshot_that_is_recorded_is_no_gap(site: LedgerSite) -> None:
    site.record()
    expire(site.table(), 0, 1, 2)
    site.build(candle(5))
    site.record()
    assert [each.trigger for each in site.publications()] == ["first", *["scheduled"] * 4]


def test_a_table_that_was_created_again_is_a_gap(site: LedgerSite) -> None:
    table = site.table()
    site.catalog.drop_table(table.name())
    shutil.rmtree(urlsplit(table.location()).path)
    create_tables(site.settings)
    for _ in range(2):
        site.record()
    site.rows = []
    site.build(candle(9))
    site.record()
    assert [each.trigger for each in site.publications()] == ["first", "gap", "scheduled"]
    assert site.changes() == []


def test_numbers_continue_after_a_gap(site: LedgerSite) -> None:
    expire(site.table(), 0)
    site.record()
    assert [each.number for each in site.publications()] == [1, 2, 3, 4]
    status = ledger_status(site.settings, MINUTE, site.catalog)
    assert status.gaps == (site.publications()[1].visible_at,)
    assert status.begins_at == site.publications()[1].visible_at


def test_the_status_tells_what_is_not_recorded(site: LedgerSite) -> None:
    before = ledger_status(site.settings, MINUTE, site.catalog)
    log = site.table().metadata.snapshot_log
    assert (before.checkpoint, before.unrecorded) == (site.publications()[0], 3)
    assert before.unrecorded_since is not None
    assert before.unrecorded_since.timestamp() == log[1].timestamp_ms / 1000
    # The recording needs these snapshots.
    assert before.keep_since == site.publications()[0].visible_at
    site.record()
    after = ledger_status(site.settings, MINUTE, site.catalog)
    assert (after.unrecorded, after.unrecorded_since, after.rows) == (0, None, 3)
    assert after.size > 0
    assert after.keep_since == site.publications()[-1].visible_at


def test_the_snapshots_of_an_unrecorded_rollback_are_needed(site: LedgerSite) -> None:
    site.record()
    first = site.publications()[0]
    site.roll_back(first.snapshot or 0)
    assert ledger_status(site.settings, MINUTE, site.catalog).keep_since == first.visible_at


def test_before_the_first_recording_nothing_is_known(settings: Settings) -> None:
    status = ledger_status(settings, MINUTE)
    assert (status.begins_at, status.checkpoint, status.unrecorded, status.keep_since) == (None, None, 0, None)


def remove_lock(site: LedgerSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the catalog have no lock; its tables have a first snapshot then."""
    for contract, table in (
        (site.settings.revisions_contract, site.revisions_table()),
        (site.settings.publications_contract, site.publications_table()),
    ):
        commit_files(site.catalog, contract, table, [], [], lambda: None)
    monkeypatch.setattr(Catalog, "has_lock", False)


def only_newest(site: LedgerSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Show only the newest snapshot of every table, like Nessie."""
    remove_lock(site, monkeypatch)
    load = site.catalog.load_table

    def load_newest(identifier: Any) -> Table:
        table = load(identifier)
        newest, log = table.metadata.snapshots[-1:], table.metadata.snapshot_log[-1:]
        changes: dict[str, Any] = {"snapshots": newest, "snapshot_log": log}
        table.metadata = table.metadata.model_copy(update=changes)
        table.metadata.properties["gc.enabled"] = "false"
        return table

    monkeypatch.setattr(site.catalog, "load_table", load_newest)


def test_a_table_whose_history_has_expired_without_a_lock_is_a_gap(
    site: LedgerSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove_lock(site, monkeypatch)
    expire(site.table(), 0, 1, 2)
    assert ledger_status(site.settings, MINUTE, site.catalog).unavailable is None
    site.record()
    assert [each.trigger for each in site.publications()] == ["first", "gap"]


def test_a_catalog_without_history_is_unavailable(site: LedgerSite, monkeypatch: pytest.MonkeyPatch) -> None:
    only_newest(site, monkeypatch)
    for _ in range(2):
        report = record(site.settings, MINUTE, site.catalog)
        assert (report.publications, report.gap) == (0, None)
        assert report.unavailable is not None
        assert report.unavailable.startswith("the catalog shows only the newest snapshot of market_data.gold_ohlcv_1m")
    assert ledger_status(site.settings, MINUTE, site.catalog).unavailable == report.unavailable


def test_the_visible_time_is_that_of_the_log(site: LedgerSite) -> None:
    site.record()
    log = site.table().metadata.snapshot_log
    assert [each.snapshot for each in site.publications()] == [entry.snapshot_id for entry in log]
    for publication, entry in zip(site.publications(), log, strict=True):
        assert (publication.visible_at - publication.visible_at.replace(microsecond=0)) // MICROSECOND % 1000 == 0
        assert int(publication.visible_at.timestamp() * 1000) == entry.timestamp_ms


def test_a_number_that_retention_deleted_ends_the_ledger(site: LedgerSite) -> None:
    site.record()
    # The clock of the second publication was slow, so that its month was another one.
    first, _, *later = site.publications()
    assert Ledger.of("1m", [first, *later]).publications == tuple(later)


def test_equality_deletes_are_named(site: LedgerSite) -> None:
    table = site.table()
    [task] = table.scan().plan_files()
    # pyiceberg writes no such deletes.
    deletes = DataFile.from_args(
        content=DataFileContent.EQUALITY_DELETES,
        file_path=task.file.file_path,
        file_format=FileFormat.PARQUET,
        partition=task.file.partition,
        record_count=1,
        file_size_in_bytes=task.file.file_size_in_bytes,
    )
    deletes.spec_id = task.file.spec_id
    with table.transaction() as transaction, transaction.update_snapshot().fast_append() as producer:
        producer.append_data_file(deletes)
    message = r"^market_data\.gold_ohlcv_1m has equality deletes, which pyiceberg cannot read: rewrite its files"
    with pytest.raises(EqualityDeletesError, match=message):
        site.record()
    with pytest.raises(EqualityDeletesError, match=message):
        read_candles(site.settings, MINUTE)
