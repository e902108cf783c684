"""Check stored candles against a recomputation from the trades by another engine (DuckDB, no JVM).

Shares no code with the Spark job: only the contract's names. Memory and time grow with the range.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from ohlcv.schema import AMOUNT_LIMIT, TRADES, candles_contract
from ohlcv.settings import Settings
from ohlcv.timeframes import Timeframe
from ohlcv.warehouse import load_table, open_catalog
from ohlcv.windows import (
    HOUR,
    Range,
    from_microseconds,
    hours_touched,
    iso,
    merge_ranges,
    parse_hours,
    runs_of_hours,
    to_microseconds,
    windows_of_hour,
)

# How many findings are named; their number is always told.
NAMED = 20

_TRADE_COLUMNS = (
    "symbol",
    "exchange",
    "trade_id",
    "message_id",
    "timestamp",
    "price",
    "quantity",
    "source_sequence",
    "ingestion_timestamp",
    "platform_sequence",
    "exchange_date",
    "exchange_hour",
)

# Every amount as a whole number of 10^-8; sums as 128-bit integers. A version is the latest by the same total order
# as in the data contract; ids made of digits compare as numbers.
_RECOMPUTE = """
WITH good AS (
    SELECT *, date_diff('day', DATE '1970-01-01', exchange_date) * 24 + exchange_hour AS hour_number
    FROM trades
    WHERE symbol IS NOT NULL AND exchange IS NOT NULL AND "timestamp" IS NOT NULL
      AND coalesce(trade_id, message_id) IS NOT NULL AND price > 0 AND quantity > 0
      AND "timestamp" // 3600000000 = date_diff('day', DATE '1970-01-01', exchange_date) * 24 + exchange_hour
),
latest AS (
    SELECT * FROM good
    QUALIFY row_number() OVER (
        PARTITION BY exchange, symbol, hour_number, trade_id, CASE WHEN trade_id IS NULL THEN message_id END
        ORDER BY ingestion_timestamp DESC NULLS LAST, platform_sequence DESC NULLS LAST, message_id DESC NULLS LAST,
            "timestamp" DESC, source_sequence DESC NULLS LAST, price DESC, quantity DESC
    ) = 1
),
keyed AS (
    SELECT symbol, exchange, "timestamp", "timestamp" // $length * $length AS window_start, source_sequence,
        CAST(CAST(price AS DECIMAL(28, 8)) * 100000000 AS BIGINT) AS price,
        CAST(CAST(quantity AS DECIMAL(28, 8)) * 100000000 AS BIGINT) AS quantity,
        coalesce(trade_id, message_id) AS id,
        CASE WHEN regexp_full_match(coalesce(trade_id, message_id), '[0-9]+')
            THEN ltrim(coalesce(trade_id, message_id), '0') END AS digits
    FROM latest
),
ordered AS (
    SELECT *, row_number() OVER (
        PARTITION BY symbol, exchange, window_start
        ORDER BY "timestamp", source_sequence NULLS FIRST, digits IS NULL, length(digits), digits, id, price
    ) AS position
    FROM keyed
),
candles AS (
    SELECT symbol, exchange, window_start, arg_min(price, position) AS open_price, max(price) AS high_price,
        min(price) AS low_price, arg_max(price, position) AS close_price,
        sum(CAST(quantity AS HUGEINT)) AS volume, count(*) AS trade_count,
        sum(CAST(price AS HUGEINT) * CAST(quantity AS HUGEINT)) AS notional
    FROM ordered
    WHERE {in_ranges}
    GROUP BY symbol, exchange, window_start
)
SELECT * EXCLUDE (notional), notional // volume + CAST(notional % volume * 2 >= volume AS INTEGER) AS vwap FROM candles
"""

_STORED = """
SELECT symbol, exchange, epoch_us(window_start) AS window_start, epoch_us(window_end) AS window_end, window_date,
    CAST(CAST(open_price AS DECIMAL(28, 8)) * 100000000 AS HUGEINT) AS open_price,
    CAST(CAST(high_price AS DECIMAL(28, 8)) * 100000000 AS HUGEINT) AS high_price,
    CAST(CAST(low_price AS DECIMAL(28, 8)) * 100000000 AS HUGEINT) AS low_price,
    CAST(CAST(close_price AS DECIMAL(28, 8)) * 100000000 AS HUGEINT) AS close_price,
    CAST(floor(volume) AS HUGEINT) * 100000000 + CAST(volume % 1 * 100000000 AS HUGEINT) AS volume, trade_count,
    CAST(CAST(vwap AS DECIMAL(28, 8)) * 100000000 AS HUGEINT) AS vwap
FROM stored WHERE {in_ranges}
"""

_VALUES = ("open_price", "high_price", "low_price", "close_price", "volume", "trade_count", "vwap")


@dataclass(frozen=True)
class Finding:
    """A candle that is not as it must be."""

    rule: str
    symbol: str
    exchange: str
    window_start: str
    stored: str
    expected: str

    def __str__(self) -> str:
        return (
            f"{self.rule}: {self.symbol} {self.exchange} {self.window_start}: "
            f"stored {self.stored}, expected {self.expected}"
        )


@dataclass(frozen=True)
class Verdict:
    """What a check found over which ranges."""

    timeframe: str
    ranges: list[Range]
    candles: int
    findings: list[Finding]
    notes: list[str]
    # The provenance of the run's commit, empty where it changed nothing.
    commit: dict[str, str]


def validate(settings: Settings, timeframe: Timeframe, own: Range, run_id: str = "") -> Verdict:
    """Check the candles of a range, and of the old hours the run `run_id` repaired."""
    catalog = open_catalog(settings)
    table = load_table(catalog, candles_contract(timeframe))
    commit = _commit_of(table, run_id) if run_id else {}
    repaired = (windows_of_hour(timeframe, hour) for hour in parse_hours(commit.get("ohlcv.repaired-hours", "")))
    ranges = merge_ranges([own, *(Range(span.start, min(span.end, own.end)) for span in repaired)])
    trades = load_table(catalog, TRADES)
    # As of the trades the candles were built from: those that came since are not errors. Mostly that is the run's
    # own commit; a run that found nothing to change left none, and an older try's may stand behind another's.
    newest = _newest_commit(table)
    verdicts = []
    for built in [newest, commit] if commit and commit != newest else [newest]:
        snapshot, notes = _trades_snapshot(trades, built)
        candles, findings = _check(timeframe, ranges, trades, table, snapshot)
        verdicts.append(Verdict(timeframe.name, ranges, candles, findings, notes, commit))
        if not findings:
            break
    return min(verdicts, key=lambda verdict: len(verdict.findings))


def _check(
    timeframe: Timeframe, ranges: list[Range], trades: Table, table: Table, snapshot: int | None
) -> tuple[int, list[Finding]]:
    hours = hours_touched(ranges)
    source = trades.scan(_hours_filter(hours), selected_fields=_TRADE_COLUMNS, snapshot_id=snapshot).to_arrow()
    first, last = ranges[0].start, ranges[-1].end
    stored = table.scan(f"window_start >= '{first.isoformat()}' AND window_start < '{last.isoformat()}'").to_arrow()
    wide = table.schema().find_type("volume").precision > 18  # type: ignore[attr-defined]  # the contract's decimal
    rows, candles, empty = _compare(timeframe, ranges, source, stored, hours)
    return candles, [finding for row in rows for finding in _judge(row, timeframe, empty, wide)]


def _compare(
    timeframe: Timeframe, ranges: list[Range], source: pa.Table, stored: pa.Table, hours: set[int]
) -> tuple[list[dict[str, Any]], int, set[int]]:
    bounds = " OR ".join(
        f"(window_start >= {to_microseconds(span.start)} AND window_start < {to_microseconds(span.end)})"
        for span in ranges
    )
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("trades", source)
        connection.register("stored", stored)
        connection.execute(
            f"CREATE TEMP TABLE expected AS {_RECOMPUTE.format(in_ranges=bounds)}",
            {"length": timeframe.microseconds},
        )
        in_microseconds = bounds.replace("window_start", "epoch_us(window_start)")
        connection.execute(f"CREATE TEMP TABLE found AS {_STORED.format(in_ranges=in_microseconds)}")
        present = connection.execute(
            "SELECT DISTINCT date_diff('day', DATE '1970-01-01', exchange_date) * 24 + exchange_hour FROM trades"
        ).fetchall()
        count = connection.execute("SELECT count(*) FROM found").fetchone()
        differs = " OR ".join(f"found.{name} IS DISTINCT FROM expected.{name}" for name in _VALUES)
        pairs = ", ".join(f"found.{name} AS stored_{name}, expected.{name} AS expected_{name}" for name in _VALUES)
        cursor = connection.execute(f"""
            SELECT coalesce(found.symbol, expected.symbol) AS symbol,
                coalesce(found.exchange, expected.exchange) AS exchange,
                coalesce(found.window_start, expected.window_start) AS window_start,
                count(*) OVER (PARTITION BY found.symbol, found.exchange, found.window_start) AS copies, {pairs},
                found.window_end AS window_end, CAST(found.window_date AS VARCHAR) AS window_date
            FROM found FULL JOIN expected USING (symbol, exchange, window_start)
            QUALIFY {differs} OR (copies > 1 AND found.symbol IS NOT NULL)
                OR found.window_end <> found.window_start + {timeframe.microseconds}
                OR epoch_us(CAST(found.window_date AS TIMESTAMP)) <> found.window_start // 86400000000 * 86400000000
            ORDER BY window_start, symbol, exchange
        """)
        names = [column[0] for column in cursor.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return rows, int(count[0] if count else 0), hours - {int(row[0]) for row in present}


def _judge(row: dict[str, Any], timeframe: Timeframe, empty: set[int], wide: bool) -> Iterable[Finding]:
    start = row["window_start"]
    where = (row["symbol"], row["exchange"], iso(from_microseconds(start)))
    stored, expected = row["stored_trade_count"], row["expected_trade_count"]
    span = Range(from_microseconds(start), from_microseconds(start) + max(timeframe.length, HOUR))
    if stored is not None and empty & hours_touched([span]) and (expected or 0) < stored:
        # The source has let go of the trades: the candle stays as it was when they were there.
        return
    if expected is None:
        yield Finding("no candle without trades", *where, f"{stored} trades", "nothing")
    elif stored is None and not wide and row["expected_volume"] >= AMOUNT_LIMIT:
        yield Finding("volume must fit its column", *where, "withheld", _amount(row["expected_volume"]))
    elif stored is None:
        yield Finding("no candle missing", *where, "nothing", f"{expected} trades")
    else:
        if row["copies"] > 1:
            yield Finding("key unique", *where, f"{row['copies']} rows", "1 row")
        for name in _VALUES:
            if row[f"stored_{name}"] != row[f"expected_{name}"]:
                show = str if name == "trade_count" else _amount
                yield Finding(
                    f"{name} equals the trades", *where, show(row[f"stored_{name}"]), show(row[f"expected_{name}"])
                )
        if row["window_end"] != start + timeframe.microseconds:
            yield Finding(
                "window_end one window later", *where, str(row["window_end"]), str(start + timeframe.microseconds)
            )
        if row["window_date"] != from_microseconds(start).date().isoformat():
            yield Finding(
                "window_date the UTC date", *where, row["window_date"], from_microseconds(start).date().isoformat()
            )


def _amount(units: int | None) -> str:
    return "NULL" if units is None else f"{units // 10**8}.{units % 10**8:08d}"


def _hours_filter(hours: set[int]) -> str:
    parts = []
    for first, last in runs_of_hours(hours):
        for day in range(first // 24, last // 24 + 1):
            low, high = max(first - day * 24, 0), min(last - day * 24, 23)
            date = from_microseconds(day * 24 * 3_600_000_000).date()
            parts.append(f"(exchange_date = '{date}' AND exchange_hour >= {low} AND exchange_hour <= {high})")
    return " OR ".join(parts)


def _ours(snapshot: Snapshot) -> dict[str, str]:
    properties = snapshot.summary.additional_properties if snapshot.summary else {}
    return {name: value for name, value in properties.items() if name.startswith("ohlcv.")}


def _commit_of(table: Table, run_id: str) -> dict[str, str]:
    for snapshot in reversed(table.snapshots()[-200:]):
        if (summary := _ours(snapshot)).get("ohlcv.run-id") == run_id:
            return summary
    return {}


def _newest_commit(table: Table) -> dict[str, str]:
    for snapshot in reversed(table.snapshots()):
        if summary := _ours(snapshot):
            return summary
    return {}


def _trades_snapshot(trades: Table, commit: dict[str, str]) -> tuple[int | None, list[str]]:
    recorded = commit.get("ohlcv.trades-snapshot")
    if not recorded:
        return None, []
    if trades.snapshot_by_id(int(recorded)) is None:
        return None, [f"the trades snapshot {recorded} has expired: checked against the present trades"]
    return int(recorded), []


def describe(verdict: Verdict) -> str:
    """Write a verdict for a log."""
    lines = [f"{verdict.timeframe}: {verdict.candles} candles checked, {len(verdict.findings)} findings"]
    lines += [f"  range {span}" for span in verdict.ranges]
    lines += [f"  note: {note}" for note in verdict.notes]
    lines += [f"  FAIL {finding}" for finding in verdict.findings[:NAMED]]
    if len(verdict.findings) > NAMED:
        lines.append(f"  and {len(verdict.findings) - NAMED} more")
    return "\n".join(lines)


def event_details(verdict: Verdict) -> dict[str, Any]:
    """Give what an asset event says of a run: its ranges and counts."""
    counts = {
        action: int(verdict.commit.get(f"ohlcv.candles-{action}", 0)) for action in ("inserted", "updated", "deleted")
    }
    return {
        "timeframe": verdict.timeframe,
        "ranges": [{"start": iso(span.start), "end": iso(span.end)} for span in verdict.ranges],
        "candles_checked": verdict.candles,
        **counts,
        "trades_read": int(verdict.commit.get("ohlcv.trades-read", 0)),
        "rejected": json.loads(verdict.commit.get("ohlcv.trades-rejected", "{}")),
    }
