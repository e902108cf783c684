"""Checks of the ledger: whether it records every publication in time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from ohlcv.config.settings import Settings
from ohlcv.iceberg.catalog_errors import described_catalog_errors
from ohlcv.iceberg.tables import open_catalog
from ohlcv.ledger.reports import LedgerStatus
from ohlcv.ledger.status import ledger_status
from ohlcv.model.intervals import iso
from ohlcv.monitoring.measurements import Finding

# The DAG records hourly. A later publication has missed a run.
LIMIT = timedelta(hours=2)
REMEDY = "unpause the DAG ohlcv_ledger, or run 'ohlcv ledger record'"


def check_ledger(settings: Settings, now: datetime) -> Iterator[Finding]:
    """Yield what is wrong with the ledger, with what to do, or one line that it works."""
    with described_catalog_errors(settings):
        catalog = open_catalog(settings)
        every = [ledger_status(settings, timeframe, catalog) for timeframe in settings.timeframes.values()]
    findings = [*_unavailable(every), *_not_begun(every), *_behind(every, now), *_gaps(every)]
    newest = sum(each.checkpoint.number for each in every if each.checkpoint)
    yield from findings or [("ok", f"{newest:,} publications of {len(every)} timeframes are recorded")]


def _unavailable(every: list[LedgerStatus]) -> Iterator[Finding]:
    for each in every:
        if each.unavailable:
            remedy = "use a catalog that keeps the snapshots of a table to read candles of the past"
            yield "warning", f"{each.timeframe}: {each.unavailable}: {remedy}"


def _not_begun(every: list[LedgerStatus]) -> Iterator[Finding]:
    if names := [each.timeframe for each in every if not each.checkpoint and not each.unavailable]:
        yield "unused", f"{', '.join(names)}: no publication is recorded yet: {REMEDY}"


def _behind(every: list[LedgerStatus], now: datetime) -> Iterator[Finding]:
    for each in every:
        if each.unrecorded_since and now - each.unrecorded_since > LIMIT:
            found = f"{each.unrecorded:,} publications since {iso(each.unrecorded_since)} are not recorded"
            yield "warning", f"{each.timeframe}: {found}: {REMEDY}, before their snapshots expire"


def _gaps(every: list[LedgerStatus]) -> Iterator[Finding]:
    for each in every:
        for gap in each.gaps:
            found = f"publications before {iso(gap)} are lost, and reads of that time are refused"
            yield "warning", f"{each.timeframe}: {found}: see A gap in the ledger in docs/runbook.md"
