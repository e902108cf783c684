"""Database in memory that runs the rules, and the stored candles in it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import duckdb
import pyarrow as pa
from pyiceberg.expressions import And, BooleanExpression, GreaterThanOrEqual, LessThan, Or
from pyiceberg.table import Table

from ohlcv.config.temporary_folders import temporary_folder
from ohlcv.config.values import megabytes
from ohlcv.iceberg.damage import report_damage
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import Range, from_microseconds, iso, to_microseconds
from ohlcv.model.table_contracts import AMOUNT_LIMIT
from ohlcv.model.timeframes import Timeframe
from ohlcv.quality.measures import STORED, has_measures, stores_measures, with_measures
from ohlcv.quality.report import Finding
from ohlcv.quality.rules import Rule
from ohlcv.readers.scans import compare

# With less memory per thread, DuckDB cannot spill what does not fit.
_MEGABYTES_PER_THREAD = 512

# Formats of values in findings (whole numbers of 10^-8 as decimals, microseconds as ISO times), and windows of times.
_MACROS = """
CREATE MACRO amount(units) AS CASE WHEN units < 0 THEN '-' ELSE '' END
    || (abs(units) // 100000000) || '.' || lpad(CAST(abs(units) % 100000000 AS VARCHAR), 8, '0');
-- DuckDB's division truncates toward zero: times before 1970 need a floor.
CREATE MACRO floor_divide(us, length) AS us // length - CAST(us % length < 0 AS BIGINT);
CREATE MACRO floor_time(us, length) AS floor_divide(us, length) * length;
CREATE MACRO instant(us) AS coalesce(strftime(make_timestamp(us), '%Y-%m-%dT%H:%M:%SZ'), 'NULL');
CREATE MACRO moment(us) AS strftime(make_timestamp(us), '%Y-%m-%dT%H:%M:%S.%fZ');
-- Of whole numbers of 10^-16.
CREATE MACRO quote_amount(units) AS CASE WHEN units < 0 THEN '-' ELSE '' END
    || (abs(units) // 10000000000000000) || '.' || lpad(CAST(abs(units) % 10000000000000000 AS VARCHAR), 16, '0');
"""

_STORED = """
SELECT symbol, exchange, epoch_us(window_start) AS window_start, epoch_us(window_end) AS window_end, window_date,
    CAST(CAST(open_price AS DECIMAL(28, 8)) * 100000000 AS HUGEINT) AS open_price,
    CAST(CAST(high_price AS DECIMAL(28, 8)) * 100000000 AS HUGEINT) AS high_price,
    CAST(CAST(low_price AS DECIMAL(28, 8)) * 100000000 AS HUGEINT) AS low_price,
    CAST(CAST(close_price AS DECIMAL(28, 8)) * 100000000 AS HUGEINT) AS close_price,
    CAST(floor(volume) AS HUGEINT) * 100000000 + CAST(volume % 1 * 100000000 AS HUGEINT) AS volume, trade_count,
    CAST(CAST(vwap AS DECIMAL(28, 8)) * 100000000 AS HUGEINT) AS vwap{measures}
FROM {source} WHERE {in_ranges}
"""


@contextmanager
def report_memory(work: str, memory: str | None) -> Iterator[None]:
    """Raise OhlcvError if the block, which queries a database of `rule_database`, needs too much memory."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise OhlcvError(
            f"the {work} needs more memory than {memory or 'there is'}, or more disk in {tempfile.gettempdir()}: "
            "raise OHLCV_AUDIT_MEMORY"
        ) from error


@contextmanager
def rule_database(memory: str | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database in memory that can run rules.

    `memory` is a limit such as 1024m. What does not fit is written to temporary files.
    """
    with ExitStack() as stack:
        folder = None if memory is None else stack.enter_context(temporary_folder())
        connection = stack.enter_context(duckdb.connect())
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(_MACROS)
        if memory is not None:
            _limit_memory(connection, memory, folder)
        yield connection


def _limit_memory(connection: duckdb.DuckDBPyConnection, memory: str, folder: str | None) -> None:
    limit = megabytes(memory)
    ((threads,),) = connection.execute("SELECT current_setting('threads')").fetchall()
    for setting in (
        f"memory_limit = '{limit}MiB'",
        f"temp_directory = '{folder}'",
        f"threads = {min(threads, max(1, limit // _MEGABYTES_PER_THREAD))}",
        "preserve_insertion_order = false",
    ):
        connection.execute(f"SET {setting}")


def load_stored(
    connection: duckdb.DuckDBPyConnection,
    timeframe: Timeframe,
    candles: Table,
    ranges: list[Range],
    snapshot: int | None = None,
) -> None:
    """Load the candles of the ranges into the table `stored`, and set the variables of its rules.

    It has measures if the table is extended.
    """
    set_variables(connection, timeframe, wide=stores_wide_volumes(candles))
    load_candles(connection, "stored", candles, ranges, snapshot)


def stores_wide_volumes(candles: Table) -> bool:
    """Return whether the volume is decimal(38, 8)."""
    return bool(candles.schema().find_type("volume").precision > 18)  # type: ignore[attr-defined]  # a decimal


def set_variables(connection: duckdb.DuckDBPyConnection, timeframe: Timeframe, *, wide: bool) -> None:
    """Set the variables of the rules. In a wide table, the volume is decimal(38, 8)."""
    connection.execute(f"SET VARIABLE length = {timeframe.microseconds}")
    connection.execute(f"SET VARIABLE volume_limit = {10**38 if wide else AMOUNT_LIMIT}")


def load_candles(
    connection: duckdb.DuckDBPyConnection, name: str, candles: Table, ranges: list[Range], snapshot: int | None = None
) -> None:
    """Load the candles of the ranges from a snapshot (None: the current one) into a table of the database."""
    scan = candles.scan(ranges_condition(ranges), snapshot_id=snapshot)
    with report_damage(candles, scan):
        rows = scan.to_arrow()
    load_rows(connection, name, with_measures(rows) if stores_measures(candles) else rows, ranges)


def load_rows(connection: duckdb.DuckDBPyConnection, name: str, rows: pa.Table, ranges: list[Range]) -> None:
    """Load rows with the columns of candles, those in the ranges, into a table of the database."""
    connection.register("candle_rows", rows)
    select_rows(connection, name, "candle_rows", ranges, measures=has_measures(rows.column_names))
    connection.unregister("candle_rows")


def select_rows(
    connection: duckdb.DuckDBPyConnection, name: str, source: str, ranges: list[Range], *, measures: bool
) -> None:
    """Load rows from another table of the database like `load_rows`."""
    stored = _STORED.format(
        measures=STORED if measures else "",
        source=source,
        in_ranges=in_ranges(ranges, "epoch_us(window_start)"),
    )
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {stored}")


def ranges_condition(ranges: list[Range]) -> BooleanExpression:
    """Return the row filter of the candles in the ranges. The date of a candle, which may be wrong, is not used."""
    conditions = [
        And(compare(GreaterThanOrEqual, "window_start", span.start), compare(LessThan, "window_start", span.end))
        for span in ranges
    ]
    return conditions[0] if len(conditions) == 1 else Or(*conditions)


def find_violations(connection: duckdb.DuckDBPyConnection, rule: Rule) -> Iterator[Finding]:
    """Run a rule and yield its violations in the order of their windows."""
    rows = connection.execute(
        f"SELECT * FROM ({rule.violations()}) ORDER BY window_start, symbol, exchange, stored"
    ).fetchall()
    for symbol, exchange, start, stored, expected in rows:
        yield Finding(
            rule.name, rule.severity, symbol, exchange, iso(from_microseconds(start)), str(stored), str(expected)
        )


def in_ranges(ranges: list[Range], column: str = "window_start") -> str:
    """Return the SQL condition that a time in microseconds is in one of the ranges."""
    return (
        "("
        + " OR ".join(
            f"({column} >= {to_microseconds(span.start)} AND {column} < {to_microseconds(span.end)})" for span in ranges
        )
        + ")"
    )
