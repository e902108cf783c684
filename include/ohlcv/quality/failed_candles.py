"""Candles that failed the audit: their findings, computed again from the snapshots that their record names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from ohlcv.config.settings import Settings
from ohlcv.iceberg.snapshot_summary import built_ranges, job_summary
from ohlcv.model.audit_records import HeldSeries, Rejection
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import Range, parse_time
from ohlcv.model.timeframes import Timeframe
from ohlcv.quality.audit import HeldKey, key_of_window
from ohlcv.quality.candidate_audit import audited
from ohlcv.quality.measures import stores_measures
from ohlcv.quality.recomputation import Recomputation, common_step
from ohlcv.quality.report import Finding
from ohlcv.quality.rule_database import load_stored
from ohlcv.readers.trades import TradesTable, load_trades


@dataclass(frozen=True)
class FailedCandles:
    """The snapshots and ranges of the candles of a held series or of a rejected run."""

    timeframe: Timeframe
    candles: Table
    # Snapshot with the candles that failed; None if they were never written, or if it has expired.
    candidate: int | None
    # Trades that the candles were built from; None if their snapshot has expired.
    trades: TradesTable | None
    trades_snapshot: int
    ranges: list[Range]
    # Of a held series.
    key: HeldKey | None
    # Which snapshots are missing.
    notes: list[str]

    def includes(self, symbol: str, exchange: str, window_start: datetime) -> bool:
        """Return whether a window belongs to the held series; all windows belong to a rejected run."""
        return self.key in (None, key_of_window(self.timeframe, symbol, exchange, window_start))


def failed_candles(
    settings: Settings, catalog: Catalog, timeframe: Timeframe, candles: Table, record: HeldSeries | Rejection
) -> FailedCandles:
    """Return where the candles of a held series or of a rejected run are stored."""
    notes = []
    found = None if record.candidate is None else candles.snapshot_by_id(record.candidate)
    if record.candidate is None:
        notes.append("the failed candles were audited before they were written: they are not stored")
    elif found is None:
        notes.append(f"the snapshot {record.candidate} with the failed candles has expired")
    trades: TradesTable | None = load_trades(catalog, settings.trades_contract)
    if trades is not None and trades.table.snapshot_by_id(record.trades_snapshot) is None:
        notes.append(f"the trades snapshot {record.trades_snapshot} has expired: nothing can be recomputed")
        trades = None
    summary = {} if found is None else job_summary(found)
    key = record.key if isinstance(record, HeldSeries) else None
    return FailedCandles(
        timeframe,
        candles,
        None if found is None else found.snapshot_id,
        trades,
        record.trades_snapshot,
        _ranges(timeframe, summary, record),
        key,
        notes,
    )


def _ranges(timeframe: Timeframe, summary: dict[str, str], record: HeldSeries | Rejection) -> list[Range]:
    """Return the ranges that the run built, of a held series only its windows."""
    built = built_ranges(summary, timeframe)
    if isinstance(record, Rejection):
        return built or [Range(parse_time(record.start)[0], parse_time(record.end)[0])]
    windows = record.span(timeframe)
    if not built:
        tried = parse_time(record.tried)[0]
        return [Range(windows.start, max(min(windows.end, tried), windows.start + timeframe.length))]
    overlaps = ((max(span.start, windows.start), min(span.end, windows.end)) for span in built)
    return [Range(start, end) for start, end in overlaps if start < end] or [windows]


@contextmanager
def recompute(settings: Settings, failed: FailedCandles) -> Iterator[Recomputation]:
    """Recompute the candles in a database; without the trades, it has none."""
    memory = settings.tuning[failed.timeframe.name].audit_memory
    measures = stores_measures(failed.candles)
    with Recomputation(failed.ranges, common_step([failed.timeframe]), memory, measures=measures) as recomputation:
        if failed.trades is not None:
            recomputation.run(failed.trades, failed.trades_snapshot)
        yield recomputation


def find_failures(recomputation: Recomputation, failed: FailedCandles) -> list[Finding]:
    """Return the findings of the failed candles, of those that main has if the failed ones are not stored."""
    load_stored(recomputation.connection, failed.timeframe, failed.candles, failed.ranges, snapshot=failed.candidate)
    return [
        finding
        for finding in audited(recomputation.find_violations(failed.timeframe, failed.ranges))
        if failed.includes(finding.symbol, finding.exchange, datetime.fromisoformat(finding.window_start))
    ]


def recompute_failures(settings: Settings, failed: FailedCandles) -> list[Finding]:
    """Return the findings of the failed candles. Raise OhlcvError if a snapshot is missing."""
    if failed.candidate is None or failed.trades is None:
        raise OhlcvError("; ".join(failed.notes))
    with recompute(settings, failed) as recomputation:
        return find_failures(recomputation, failed)
