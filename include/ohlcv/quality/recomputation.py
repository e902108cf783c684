"""Recomputation of candles from trades by DuckDB, in temporary tables that the rules query.

It shares no code with the Spark job, only the column names of the data contract. Memory and time grow with the
validated range, not with the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
from pyiceberg.table import Table

from ohlcv.iceberg.damage import report_damage
from ohlcv.model.intervals import HOUR, MICROSECOND, Range, from_microseconds, iso, to_microseconds
from ohlcv.model.source_hours import hours_overlapping
from ohlcv.model.table_contracts import AMOUNT_LIMIT
from ohlcv.model.timeframes import Timeframe
from ohlcv.model.trade_mapping import TradeMapping
from ohlcv.quality.report import Finding, ValidationResult
from ohlcv.quality.rules import RULES, VALUES, Rule
from ohlcv.readers.trades import TradesTable

# Formats of values in findings (whole numbers of 10^-8 as decimals, microseconds as ISO times), and windows of times.
_MACROS = """
CREATE MACRO amount(units) AS CASE WHEN units < 0 THEN '-' ELSE '' END
    || (abs(units) // 100000000) || '.' || lpad(CAST(abs(units) % 100000000 AS VARCHAR), 8, '0');
-- DuckDB's division truncates toward zero: times before 1970 need a floor.
CREATE MACRO floor_divide(us, length) AS us // length - CAST(us % length < 0 AS BIGINT);
CREATE MACRO floor_time(us, length) AS floor_divide(us, length) * length;
CREATE MACRO instant(us) AS coalesce(strftime(make_timestamp(us), '%Y-%m-%dT%H:%M:%SZ'), 'NULL');
"""

_TRADES = """
SELECT *, {hour} AS hour_number,
    coalesce(symbol IS NOT NULL AND exchange IS NOT NULL AND {identity} AND price > 0 AND quantity > 0
        AND floor_divide("timestamp", 3600000000) = {hour}, false) AS valid
FROM read_trades
"""
_STORED_HOUR = "date_diff('day', DATE '1970-01-01', exchange_date) * 24 + exchange_hour"
_HOUR_OF_TIMESTAMP = 'floor_divide("timestamp", 3600000000)'

# Amounts are whole numbers of 10^-8, sums are 128-bit integers. A notional may have more bits, so it is summed in two
# parts; one of more than 38 digits withholds the candle, and its vwap is null. The latest version of a trade and the
# order of trades follow the data contract; ids made of digits compare as numbers.
_LATEST = """
    QUALIFY row_number() OVER (
        PARTITION BY exchange, symbol, hour_number, trade_id, CASE WHEN trade_id IS NULL THEN message_id END
        ORDER BY ingestion_timestamp DESC NULLS LAST, platform_sequence DESC NULLS LAST, message_id DESC NULLS LAST,
            "timestamp" DESC, source_sequence DESC NULLS LAST, price DESC, quantity DESC
    ) = 1
"""
_EXPECTED = """
WITH latest AS (SELECT * FROM trades WHERE valid {latest}),
keyed AS (
    SELECT symbol, exchange, "timestamp", source_sequence,
        floor_time("timestamp", getvariable('length')) AS window_start,
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
        sum(CAST(price // 1000000000 AS HUGEINT) * quantity) AS high_notional,
        sum(CAST(price % 1000000000 AS HUGEINT) * quantity) AS low_notional
    FROM ordered
    WHERE {in_ranges}
    GROUP BY symbol, exchange, window_start
),
notionals AS (
    SELECT * EXCLUDE (high_notional, low_notional), CASE WHEN high_notional + low_notional // 1000000000 < {limit}
        THEN high_notional * 1000000000 + low_notional END AS notional
    FROM candles
)
SELECT * EXCLUDE (notional), notional // volume + CAST(notional % volume * 2 >= volume AS INTEGER) AS vwap
FROM notionals
"""

# Limit of a notional of 38 digits, without its lower part.
_HIGH_NOTIONAL_LIMIT = 10 ** (38 - 9)

_STORED = """
SELECT symbol, exchange, epoch_us(window_start) AS window_start, epoch_us(window_end) AS window_end, window_date,
    CAST(CAST(open_price AS DECIMAL(28, 8)) * 100000000 AS HUGEINT) AS open_price,
    CAST(CAST(high_price AS DECIMAL(28, 8)) * 100000000 AS HUGEINT) AS high_price,
    CAST(CAST(low_price AS DECIMAL(28, 8)) * 100000000 AS HUGEINT) AS low_price,
    CAST(CAST(close_price AS DECIMAL(28, 8)) * 100000000 AS HUGEINT) AS close_price,
    CAST(floor(volume) AS HUGEINT) * 100000000 + CAST(volume % 1 * 100000000 AS HUGEINT) AS volume, trade_count,
    CAST(CAST(vwap AS DECIMAL(28, 8)) * 100000000 AS HUGEINT) AS vwap
FROM candle_rows WHERE {in_ranges}
"""

# Preserved candles are excluded: one of their source hours is empty (its trades have expired), and the recomputation
# would count fewer trades.
_PAIRS = """
WITH unique_stored AS (SELECT DISTINCT ON (symbol, exchange, window_start) * FROM stored),
both_sides AS (
    SELECT coalesce(unique_stored.symbol, expected.symbol) AS symbol,
        coalesce(unique_stored.exchange, expected.exchange) AS exchange,
        coalesce(unique_stored.window_start, expected.window_start) AS window_start,
        unique_stored.window_start IS NOT NULL AS is_stored, expected.window_start IS NOT NULL AS is_expected, {fields}
    FROM unique_stored FULL JOIN expected USING (symbol, exchange, window_start)
)
SELECT * FROM both_sides
WHERE NOT (is_stored AND coalesce(expected_trade_count, 0) < stored_trade_count AND EXISTS (
    SELECT 1 FROM empty_hours
    WHERE hour * 3600000000 >= floor_time(window_start, {group})
        AND hour * 3600000000 < floor_time(window_start, {group}) + {group}
))
"""


def validate_against_trades(
    timeframe: Timeframe, ranges: list[Range], trades: TradesTable, candles: Table, snapshot: int | None
) -> ValidationResult:
    """Recompute the candles of the ranges from one trades snapshot (None: the current one), and run the rules."""
    hours = hours_overlapping(ranges)
    source = trades.read_hours(hours, snapshot)
    with candle_database(timeframe, candles, ranges) as connection:
        connection.register("read_trades", source)
        compute_candles(connection, ranges, trades.mapping)
        _create_empty_hours(connection, hours)
        fields = ", ".join(
            f"unique_stored.{name} AS stored_{name}, expected.{name} AS expected_{name}" for name in VALUES
        )
        group = max(timeframe.length, HOUR) // MICROSECOND
        connection.execute(f"CREATE TEMP TABLE pairs AS {_PAIRS.format(fields=fields, group=group)}")
        findings = [
            finding
            for rule in RULES.values()
            if rule.basis in ("candles", "trades")
            for finding in find_violations(connection, rule)
        ]
        count = connection.execute("SELECT count(*) FROM stored").fetchone()
    return ValidationResult(timeframe.name, ranges, int(count[0] if count else 0), len(source), findings, [])


def compute_candles(connection: duckdb.DuckDBPyConnection, ranges: list[Range], mapping: TradeMapping) -> None:
    """Compute the candles of the ranges into the table `expected`, from the stored trades in `read_trades`.

    The variable `length` is that of a window in microseconds. Amounts are whole numbers of 10^-8. The vwap of a candle
    that is withheld because of its notional is null.
    """
    # Where every row is a trade, none has an id, and none replaces another one.
    identity, latest = ("true", "") if mapping.every_row else ("coalesce(trade_id, message_id) IS NOT NULL", _LATEST)
    trades = _TRADES.format(hour=_STORED_HOUR if mapping.has_hours else _HOUR_OF_TIMESTAMP, identity=identity)
    expected = _EXPECTED.format(latest=latest, in_ranges=_in_ranges(ranges), limit=_HIGH_NOTIONAL_LIMIT)
    connection.execute(f"CREATE TEMP TABLE trades AS {trades}")
    connection.execute(f"CREATE TEMP TABLE expected AS {expected}")


def _create_empty_hours(connection: duckdb.DuckDBPyConnection, hours: set[int]) -> None:
    present = {row[0] for row in connection.execute("SELECT DISTINCT hour_number FROM trades").fetchall()}
    connection.execute("CREATE TEMP TABLE empty_hours (hour BIGINT)")
    if hours - present:
        connection.executemany("INSERT INTO empty_hours VALUES (?)", [[hour] for hour in sorted(hours - present)])


@contextmanager
def rule_database() -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database in memory that can run rules."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(_MACROS)
        yield connection


@contextmanager
def candle_database(timeframe: Timeframe, candles: Table, ranges: list[Range]) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database in memory with the stored candles of the ranges in the table `stored`."""
    wide = candles.schema().find_type("volume").precision > 18  # type: ignore[attr-defined]  # the contract's decimal
    with rule_database() as connection:
        connection.execute(f"SET VARIABLE length = {timeframe.microseconds}")
        connection.execute(f"SET VARIABLE volume_limit = {10**38 if wide else AMOUNT_LIMIT}")
        load_candles(connection, "stored", candles, ranges)
        yield connection


def load_candles(connection: duckdb.DuckDBPyConnection, name: str, candles: Table, ranges: list[Range]) -> None:
    """Load the candles of the ranges into a table of the database."""
    first, last = ranges[0].start, ranges[-1].end
    scan = candles.scan(f"window_start >= '{first.isoformat()}' AND window_start < '{last.isoformat()}'")
    with report_damage(candles, scan):
        rows = scan.to_arrow()
    connection.register("candle_rows", rows)
    in_ranges = _in_ranges(ranges, "epoch_us(window_start)")
    connection.execute(f"CREATE TEMP TABLE {name} AS {_STORED.format(in_ranges=in_ranges)}")
    connection.unregister("candle_rows")


def find_violations(connection: duckdb.DuckDBPyConnection, rule: Rule) -> Iterator[Finding]:
    """Run a rule and yield its violations in the order of their windows."""
    rows = connection.execute(
        f"SELECT * FROM ({rule.violations()}) ORDER BY window_start, symbol, exchange, stored"
    ).fetchall()
    for symbol, exchange, start, stored, expected in rows:
        yield Finding(
            rule.name, rule.severity, symbol, exchange, iso(from_microseconds(start)), str(stored), str(expected)
        )


def _in_ranges(ranges: list[Range], column: str = "window_start") -> str:
    return (
        "("
        + " OR ".join(
            f"({column} >= {to_microseconds(span.start)} AND {column} < {to_microseconds(span.end)})" for span in ranges
        )
        + ")"
    )
