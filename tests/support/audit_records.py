"""Records of the audit in candle tables, written without Spark: held series and rejected runs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.model import summary_keys
from ohlcv.model.audit_records import REJECTION_PROPERTY, HeldSeries, Rejection, finding_digest, values_digest
from ohlcv.model.intervals import HOUR, iso
from ohlcv.model.source_checkpoint import SourceCheckpoint
from ohlcv.model.source_hours import hour_number
from ohlcv.model.timeframes import Timeframe
from support.audited_tables import stage
from support.candle_rows import Row, at
from support.default_tables import candles_contract

NOON = at("2026-03-01T12:00")


def held_series(**fields: Any) -> HeldSeries:
    """Return a held series of 12 o'clock; fields replace those of the default."""
    default: dict[str, Any] = {
        "exchange": "binance",
        "symbol": "BTC/USD",
        "hour": hour_number(NOON),
        "rule": "fields_equal_the_trades",
        "findings": 2,
        "values": "01234567",
        "candidate": None,
        "trades_snapshot": 1,
        "since": "2026-03-01T12:10:00Z",
        "tried": "2026-03-01T12:10:00Z",
    }
    return HeldSeries(**{**default, **fields})


def rejected_run(**fields: Any) -> Rejection:
    """Return a run that was rejected at half past twelve; fields replace those of the default."""
    default: dict[str, Any] = {
        "dag_id": "ohlcv_1m",
        "run_id": "scheduled__2026-03-01T12:10:00+00:00",
        "candidate": None,
        "trades_snapshot": 1,
        "at": "2026-03-01T12:30:00Z",
        "start": "2026-03-01T12:00:00Z",
        "end": "2026-03-01T12:10:00Z",
        "rule": "none_is_missing",
        "findings": 9,
        "failing": 3,
        "series": 8,
        "first": ("none_is_missing: BTC/USD binance 2026-03-01T12:00:00Z: stored nothing, expected 3 trades",),
    }
    return Rejection(**{**default, **fields})


def hold(settings: Settings, timeframe: Timeframe, *held: HeldSeries) -> None:
    """Commit a checkpoint with these held series."""
    commit(settings, timeframe, {summary_keys.CHECKPOINT: SourceCheckpoint(held=frozenset(held)).to_text()})


def reject(settings: Settings, timeframe: Timeframe, rejection: Rejection) -> None:
    """Record a rejected run."""
    table = load_table(open_catalog(settings), candles_contract(timeframe))
    with table.transaction() as transaction:
        transaction.set_properties({REJECTION_PROPERTY: rejection.to_text()})


def commit_range(settings: Settings, timeframe: Timeframe, start: datetime, end: datetime, rebuilt: str = "") -> None:
    """Commit a run without candles that built a range and pending hours."""
    summary = {
        summary_keys.RANGE_START: iso(start),
        summary_keys.RANGE_END: iso(end),
        summary_keys.REBUILT_PENDING_HOURS: rebuilt,
    }
    commit(settings, timeframe, summary)


def commit(settings: Settings, timeframe: Timeframe, summary: dict[str, str]) -> None:
    """Commit a snapshot without rows, with entries in its summary."""
    table = load_table(open_catalog(settings), candles_contract(timeframe))
    table.append(table.schema().as_arrow().empty_table(), snapshot_properties=summary)


def hold_candidate(
    settings: Settings,
    timeframe: Timeframe,
    rows: Iterable[Row],
    snapshot: int,
    findings: Iterable[tuple[str, str, str]],
) -> HeldSeries:
    """Stage a candidate of 12 o'clock, hold BTC on X, and return the held series.

    A finding is given by rule, stored and expected value; its window starts at 12 o'clock.
    """
    summary = {summary_keys.RANGE_START: iso(NOON), summary_keys.RANGE_END: iso(NOON + HOUR)}
    digests = [finding_digest(rule, "BTC", "X", iso(NOON), stored, expected) for rule, stored, expected in findings]
    held = held_series(
        exchange="X",
        symbol="BTC",
        candidate=stage(settings, timeframe, rows, summary),
        trades_snapshot=snapshot,
        findings=len(digests),
        values=values_digest(digests),
    )
    hold(settings, timeframe, held)
    return held
