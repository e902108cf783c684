"""Values and trades of the windows whose candles failed the audit, for operators."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import duckdb

from ohlcv.config.settings import Settings
from ohlcv.model.intervals import Range, from_microseconds, iso, to_microseconds
from ohlcv.model.source_hours import hours_overlapping
from ohlcv.model.table_contracts import MEASURES
from ohlcv.quality.failed_candles import FailedCandles, find_failures, recompute
from ohlcv.quality.measures import stores_measures
from ohlcv.quality.recomputation import CHUNK_ROWS
from ohlcv.quality.report import MAX_LISTED_FINDINGS, Finding
from ohlcv.quality.rule_database import load_candles, load_stored
from ohlcv.quality.rules import VALUES, text_of
from ohlcv.quality.trade_versions import VERSIONS, VERSIONS_WITH_SIDE
from ohlcv.readers.mapped_columns import hour_of_trade, projection
from ohlcv.readers.mapping_preview import rejection_reason

# Windows with trades, and trades of each.
SHOWN_WINDOWS, SHOWN_TRADES = 3, 20
# Tables of the database: the failed candles, those of main, and the recomputed ones.
SIDES = {"held": "stored", "stored": "published", "recomputed": "expected"}

# Symbol, exchange, and start in microseconds.
Window = tuple[str, str, int]

_DIFFERING = """
SELECT DISTINCT symbol, exchange, window_start
FROM stored FULL JOIN published USING (symbol, exchange, window_start)
WHERE stored.window_end IS NULL OR published.window_end IS NULL OR NOT ({equal})
"""
_VALUES = """
SELECT symbol, exchange, window_start, {values}
FROM {table} SEMI JOIN shown USING (symbol, exchange, window_start)
ORDER BY ALL DESC
"""
_SERIES_TRADES = """
SELECT *, {hour} AS hour_number, {reason} AS reason
FROM ({source}) SEMI JOIN shown USING (symbol, exchange) WHERE {hour} IN ({hours})
"""
# A version with the same values as the latest one is a duplicate.
_VERDICTS = """
CREATE OR REPLACE TEMP TABLE verdicts AS
WITH versions AS (
    SELECT *, row_number() OVER versions AS number,
        ({compared}) IS NOT DISTINCT FROM first_value(({compared})) OVER versions AS is_repeated
    FROM series_trades WHERE reason IS NULL WINDOW versions AS ({versions})
),
judged AS (
    SELECT * EXCLUDE (number, is_repeated), CASE WHEN {every_row} OR number = 1 THEN 'accepted'
        WHEN is_repeated THEN 'duplicate' ELSE 'superseded' END AS verdict
    FROM versions
    UNION ALL BY NAME SELECT *, 'rejected: ' || reason AS verdict FROM series_trades WHERE reason IS NOT NULL
)
SELECT *, floor_time("timestamp", {length}) AS window_start
FROM judged
"""
_COUNTS = """
SELECT symbol, exchange, window_start, verdict, count(*) FROM verdicts SEMI JOIN shown
USING (symbol, exchange, window_start) GROUP BY ALL
"""
_TRADES = """
SELECT symbol, exchange, window_start, "timestamp", coalesce(trade_id, message_id), CAST(price AS VARCHAR),
    CAST(quantity AS VARCHAR), {side}, source_sequence, ingestion_timestamp, verdict
FROM verdicts SEMI JOIN shown USING (symbol, exchange, window_start)
QUALIFY row_number() OVER (
    PARTITION BY symbol, exchange, window_start ORDER BY {order}
) <= {limit}
ORDER BY {order}
"""
# Every shown field is part of the order, so that two reports of the same trades are equal.
_COMPARED = '"timestamp", price, quantity, source_sequence'
_TRADE_ORDER = '"timestamp", source_sequence, ingestion_timestamp, trade_id, message_id, price, quantity, verdict'


@dataclass
class WindowDetails:
    """Values of a window in the failed candles, on main, and recomputed; and the first of its trades."""

    symbol: str
    exchange: str
    window_start: str
    # None where there is no such candle.
    held: dict[str, str] | None = None
    stored: dict[str, str] | None = None
    recomputed: dict[str, str] | None = None
    # Number of trades by verdict.
    verdicts: Counter[str] = field(default_factory=Counter)
    trades: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class FailureDetails:
    """Findings, and the windows of the first of them in the order of the findings."""

    findings: list[Finding]
    # Number of failing windows.
    windows_total: int
    windows: list[WindowDetails]
    notes: list[str]

    def window_of(self, finding: Finding) -> WindowDetails | None:
        """Return the window of a finding if it is one of the first."""
        return next(
            (each for each in self.windows if (each.symbol, each.exchange, each.window_start) == finding.window), None
        )


def failure_details(settings: Settings, failed: FailedCandles) -> FailureDetails:
    """Return the findings of failed candles, with the values and the trades of the first windows."""
    with recompute(settings, failed) as recomputation:
        connection = recomputation.connection
        load_candles(connection, "published", failed.candles, failed.ranges)
        findings: list[Finding] = []
        if failed.trades is not None:
            findings = find_failures(recomputation, failed)
            windows = [_window(finding) for finding in findings]
        else:
            load_stored(connection, failed.timeframe, failed.candles, failed.ranges, snapshot=failed.candidate)
            windows = _differing_windows(connection, failed)
        windows = list(dict.fromkeys(windows))
        details = {window: _details(window) for window in windows[:MAX_LISTED_FINDINGS]}
        _read_values(connection, failed, details)
        if failed.trades is not None:
            _read_trades(connection, failed, dict(list(details.items())[:SHOWN_WINDOWS]))
    # Without the failed candles, those of main were compared.
    return FailureDetails(
        findings if failed.candidate is not None else [], len(windows), list(details.values()), failed.notes
    )


def _window(finding: Finding) -> Window:
    return finding.symbol, finding.exchange, to_microseconds(datetime.fromisoformat(finding.window_start))


def _details(window: Window) -> WindowDetails:
    return WindowDetails(*window[:2], iso(from_microseconds(window[2])))


def _differing_windows(connection: duckdb.DuckDBPyConnection, failed: FailedCandles) -> list[Window]:
    """Return the windows in which the failed candles differ from those of main."""
    query = _DIFFERING.format(
        equal=" AND ".join(f"stored.{name} IS NOT DISTINCT FROM published.{name}" for name in _fields(failed))
    )
    rows: list[Window] = connection.execute(f"{query} ORDER BY window_start, symbol, exchange").fetchall()
    return [row for row in rows if failed.includes(row[0], row[1], from_microseconds(row[2]))]


def _fields(failed: FailedCandles) -> tuple[str, ...]:
    """Return the fields that are compared and shown."""
    return (*VALUES, *(MEASURES if stores_measures(failed.candles) else ()))


def _read_values(
    connection: duckdb.DuckDBPyConnection, failed: FailedCandles, details: dict[Window, WindowDetails]
) -> None:
    _set_shown(connection, details)
    names = _fields(failed)
    values = ", ".join(text_of(name, name) for name in names)
    for side, table in SIDES.items():
        if (side == "held" and failed.candidate is None) or (side == "recomputed" and failed.trades is None):
            continue
        for symbol, exchange, start, *found in connection.execute(
            _VALUES.format(table=table, values=values)
        ).fetchall():
            texts = ("NULL" if value is None else value for value in found)
            setattr(details[symbol, exchange, start], side, dict(zip(names, texts, strict=True)))


def _read_trades(
    connection: duckdb.DuckDBPyConnection, failed: FailedCandles, details: dict[Window, WindowDetails]
) -> None:
    trades = failed.trades
    assert trades is not None
    mapping = trades.mapping
    _set_shown(connection, details)
    starts = [from_microseconds(start) for _, _, start in details]
    read_hours = hours_overlapping(Range(start, start + failed.timeframe.length) for start in starts)
    with_side = stores_measures(failed.candles)
    for hours, tables in trades.read_chunks(read_hours, failed.trades_snapshot, CHUNK_ROWS, with_side=with_side):
        series_trades = _SERIES_TRADES.format(
            source=projection(mapping, trades.kinds, "trade_rows", with_side=with_side),
            hour=hour_of_trade(mapping),
            reason=rejection_reason(mapping),
            hours=", ".join(map(str, hours)),
        )
        action = "CREATE OR REPLACE TEMP TABLE series_trades AS"
        for table in tables:
            connection.register("trade_rows", table)
            connection.execute(f"{action} {series_trades}")
            connection.unregister("trade_rows")
            action = "INSERT INTO series_trades"
        verdicts = _VERDICTS.format(
            versions=VERSIONS_WITH_SIDE if with_side else VERSIONS,
            compared=f"{_COMPARED}, side" if with_side else _COMPARED,
            length=failed.timeframe.microseconds,
            every_row=str(mapping.every_row).lower(),
        )
        connection.execute(verdicts)
        for symbol, exchange, start, verdict, count in connection.execute(_COUNTS).fetchall():
            details[symbol, exchange, start].verdicts[verdict] += count
        trades_query = _TRADES.format(
            side="side" if with_side else "NULL",
            limit=SHOWN_TRADES,
            order=f"{_TRADE_ORDER}, side" if with_side else _TRADE_ORDER,
        )
        for symbol, exchange, start, *row in connection.execute(trades_query).fetchall():
            shown = details[symbol, exchange, start].trades
            if len(shown) < SHOWN_TRADES:
                shown.append(_trade(row, with_side=with_side))


def _trade(row: list[Any], *, with_side: bool) -> dict[str, Any]:
    timestamp, trade_id, price, quantity, side, sequence, ingested, verdict = row
    return {
        "time": _time(timestamp),
        "id": trade_id,
        "price": price,
        "quantity": quantity,
        **({"side": side} if with_side else {}),
        "source_sequence": sequence,
        "ingested": None if ingested is None else _time(ingested),
        "verdict": verdict,
    }


def _time(microseconds: int) -> str:
    try:
        return iso(from_microseconds(microseconds))
    except OverflowError:  # of another writer
        return str(microseconds)


def _set_shown(connection: duckdb.DuckDBPyConnection, details: dict[Window, WindowDetails]) -> None:
    connection.execute("CREATE OR REPLACE TEMP TABLE shown (symbol VARCHAR, exchange VARCHAR, window_start BIGINT)")
    if details:
        connection.executemany("INSERT INTO shown VALUES (?, ?, ?)", [list(window) for window in details])
