"""The coverage, its notes and a reconciliation on every kind of catalog: each is one commit, or none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyiceberg.table import Table

from catalogs.conftest import CatalogUnderTest
from catalogs.kinds import KINDS
from ohlcv.coverage.notes import NoteRequest, record_note, withdraw_note
from ohlcv.iceberg.tables import load_table
from ohlcv.model.table_contracts import TableContract
from ohlcv.readers.coverage import read_coverage
from ohlcv.reconciliation.reconcile import Request, reconcile
from ohlcv.reconciliation.report import Reconciliation
from support.candle_rows import MINUTE
from support.coverage_site import HOUR, START, CoverageSite, delivery

pytestmark = [
    pytest.mark.catalogs,
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
]

# An hour, and a correction, a late trade and a rejected one in it.
FIRST = [delivery(60 * n, str(n), source_sequence=n) for n in range(60)]
LATER = [
    delivery(60, "1", source_sequence=1, price=3, ingestion_timestamp=FIRST[2].ingestion_timestamp),
    delivery(90, "late", source_sequence=60),
    delivery(100, "rejected", price=0),
]
WITH_LOST_REPLY = [kind for kind, (_, features) in KINDS.items() if not features.has_lock]


def site_of(catalog: CatalogUnderTest) -> CoverageSite:
    """Return the tables of a catalog, with the trades of two hours."""
    site = CoverageSite(catalog.harness.settings)
    site.deliver(*FIRST, delivery(hour=HOUR - 1, source_sequence=-1))
    return site


def loaded(site: CoverageSite, contract: TableContract) -> Table:
    return load_table(site.catalog, contract)


def commits(table: Table) -> int:
    """Return the number of commits to a table, of which a catalog may show only the newest."""
    newest = table.current_snapshot()
    return 0 if newest is None else newest.sequence_number or 0


def assert_equal_to_recount(site: CoverageSite) -> None:
    """Assert that the rows are those of a recount, and that another recording commits nothing."""
    site.assert_recorded()
    before = site.coverage_table()
    assert site.properties()["trades-snapshot"] == str(site.snapshot())
    assert (site.properties()["pending-hours"], site.properties()["until"]) == ("", "2026-03-01T13:00:00Z")
    report = site.record()
    assert (report.hours, report.full) == (0, None)
    after = site.coverage_table()
    assert (after.metadata_location, after.current_snapshot()) == (before.metadata_location, before.current_snapshot())


def test_a_recording_counts_the_hours_that_changed_in_one_commit(catalog: CatalogUnderTest) -> None:
    site = site_of(catalog)
    assert site.record().full == "nothing has been recorded before"
    assert_equal_to_recount(site)
    site.deliver(*LATER)
    site.delete(HOUR - 1)
    report = site.record()
    assert (report.hours, report.expired_hours, report.full) == (2, 1, None)
    assert_equal_to_recount(site)
    catalog.observations.append(f"{report.deliveries} deliveries, {report.expired_hours} expired hour")


def test_a_note_is_shown_until_it_is_withdrawn(catalog: CatalogUnderTest) -> None:
    site = site_of(catalog)
    site.record()
    contract = site.settings.coverage_notes_contract
    before = commits(loaded(site, contract))
    request = NoteRequest("outage", "X", None, START, None, "Ann", "announced")
    note = record_note(site.settings, request, datetime.now(UTC), site.catalog)

    def shown() -> list[tuple[str, ...]]:
        found = read_coverage(site.settings, START, START + timedelta(hours=1), catalog=site.catalog)
        return [row.notes for _, _, row in found.rows()]

    assert shown() == [(note.note,)]
    withdraw_note(site.settings, note.note, "Bob", datetime.now(UTC), site.catalog)
    assert shown() == [()]
    assert commits(loaded(site, contract)) == before + 2


def test_a_reconciliation_that_is_repeated_commits_nothing(catalog: CatalogUnderTest, tmp_path: Path) -> None:
    harness, site = catalog.harness, site_of(catalog)
    site.record()
    harness.build("1m", START, START + timedelta(hours=1))
    file = tmp_path / "candles.csv"
    # The second minute differs, and the first one is missing.
    lines = [f"{START + n * MINUTE.length:%Y-%m-%dT%H:%M:%SZ},1,1,1,1,{3 if n == 1 else 2}" for n in range(1, 60)]
    file.write_text("\n".join(["window_start,open,high,low,close,volume", *lines, ""]))
    now = START + timedelta(days=1)

    def repeat() -> Reconciliation:
        request = Request("generic", "X", "BTC", MINUTE, fetched_at=now)
        return reconcile(site.settings, [file], request, now, site.catalog)

    contract = site.settings.reconciliation_contract
    first = repeat()
    assert first.written == 59
    before = loaded(site, contract)
    assert len(before.scan().to_arrow()) == 59
    assert repeat().written == 0
    assert loaded(site, contract).metadata_location == before.metadata_location
    catalog.observations.append(f"{first.written} results, one commit")


@pytest.mark.parametrize("catalog", WITH_LOST_REPLY, indirect=True)
def test_a_recording_finds_its_commit_after_a_lost_reply(catalog: CatalogUnderTest) -> None:
    site = site_of(catalog)
    site.record()
    site.assert_recorded()
    site.deliver(*LATER)
    lost = catalog.empty.lost()
    assert catalog.empty.lose_reply is not None
    catalog.empty.lose_reply("gold_ohlcv_coverage")
    assert site.record().hours == 1
    assert catalog.empty.lost() == lost + 1
    assert_equal_to_recount(site)
    catalog.observations.append("stored once")
