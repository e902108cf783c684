"""Rules of the recording: which rows the ledger has after each kind of publication."""

from __future__ import annotations

from decimal import Decimal

import pytest

from ohlcv.config.settings import Settings
from support.audited_tables import built
from support.candle_rows import MINUTE
from support.ledgers import LedgerSite

FIRST, SECOND, THIRD = (built(MINUTE, f"2026-03-01T12:0{minute}", "1") for minute in range(3))


@pytest.fixture
def site(settings: Settings) -> LedgerSite:
    return LedgerSite(settings)


def test_the_ledger_begins_at_the_present_state(site: LedgerSite) -> None:
    snapshot = site.build(FIRST)
    report = site.record()
    (publication,) = site.publications()
    assert (publication.number, publication.trigger, publication.snapshot) == (1, "first", snapshot)
    assert (report.publications, report.checkpoint) == (1, publication)
    assert site.revisions() == []


def test_insertions_by_a_job_need_no_row(site: LedgerSite) -> None:
    site.build(FIRST)
    site.record()
    site.build(SECOND)
    report = site.record()
    assert site.changes() == []
    newest = site.publications()[-1]
    assert (newest.number, newest.trigger, newest.inserted, newest.updated) == (2, "scheduled", 1, 0)
    assert newest.written_at == site.rows[-1]["created_at"]
    assert report.checkpoint == newest


def test_an_update_records_the_values_before(site: LedgerSite) -> None:
    site.build(FIRST, SECOND)
    site.record()
    old = site.rows[0]
    site.build(built(MINUTE, "2026-03-01T12:00", "2"), delete=[SECOND])
    site.record()
    assert site.changes() == [(2, "updated", "12:00", Decimal(1)), (2, "deleted", "12:01", Decimal(1))]
    row = site.revisions()[0]
    assert {name: row[name] for name in old} == old
