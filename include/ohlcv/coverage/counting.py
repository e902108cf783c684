"""Counts of the deliveries of some hours, by DuckDB with the rules of the data contract.

It shares no code with the Spark jobs. An hour may have many millions of trades, so only a hash of each identity is kept
at first. The versions of a trade are compared only where a hash occurs several times: their files are read again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import duckdb
from pyiceberg.table import FileScanTask

from ohlcv.config.temporary_folders import temporary_folder
from ohlcv.coverage.trade_files import all_have_trade_ids, read_rows
from ohlcv.model.coverage_columns import COVERAGE_COLUMNS, REJECTED_COLUMNS
from ohlcv.model.coverage_records import DELAY_BOUNDS, DELAY_COUNTS
from ohlcv.model.errors import OhlcvError
from ohlcv.model.source_hours import HOURS_PER_DAY
from ohlcv.model.trade_layout import FIRST_HOUR, LAST_HOUR, MICROSECONDS_PER_HOUR
from ohlcv.model.trade_mapping import MESSAGE_ID, PLATFORM_SEQUENCE
from ohlcv.model.trade_validity import AMOUNT_FAULTS, ROW_REJECTIONS
from ohlcv.quality.trade_versions import VERSIONS
from ohlcv.readers.mapped_columns import floor_division, hour_of_trade, projection
from ohlcv.readers.trades import TradesTable

# What does not fit is written to temporary files. The process needs up to 550 MiB besides, most of it for rows that it
# reads.
MEMORY = "400MiB"
# Rows that are inserted at a time.
_BATCH_ROWS = 250_000
# Number of a valid trade in the column `reason`. The others are positions in ROW_REJECTIONS.
_VALID = len(ROW_REJECTIONS)
_MINUTE = 60_000_000

# Versions of a trade have the same one, different trades seldom have.
IDENTITY_HASH = "hash(exchange, symbol, hour_number, trade_id, CASE WHEN trade_id IS NULL THEN message_id END)"

_TYPES = {"string": "VARCHAR", "long": "BIGINT", "timestamptz": "TIMESTAMPTZ", "boolean": "BOOLEAN"} | {
    "list<long>": "BIGINT[]"
}
_COUNTED = ", ".join(f"{column.name} {_TYPES[column.type]}" for column in COVERAGE_COLUMNS)
# Deliveries of one series in one hour are a cell.
_CHUNK = """
CREATE OR REPLACE TEMP TABLE cells (cell INTEGER, exchange VARCHAR, symbol VARCHAR, hour_number BIGINT);
CREATE OR REPLACE TEMP TABLE deliveries (
    cell INTEGER, reason UTINYINT, identity UBIGINT, moment UINTEGER, source_sequence BIGINT, delay UTINYINT
);
CREATE OR REPLACE TEMP TABLE repeated (identity UBIGINT);
CREATE OR REPLACE TEMP TABLE versions (
    exchange VARCHAR, symbol VARCHAR, hour_number BIGINT, trade_id VARCHAR, message_id VARCHAR, "timestamp" BIGINT,
    price DECIMAL(18, 8), quantity DECIMAL(18, 8), source_sequence BIGINT, ingestion_timestamp BIGINT,
    platform_sequence BIGINT
);
CREATE OR REPLACE TEMP TABLE verdicts (cell INTEGER, verdict VARCHAR, moment UINTEGER, delay UTINYINT)
"""
_CELLS = """
INSERT INTO cells
SELECT row_number() OVER () + (SELECT count(*) FROM cells), * FROM (
    SELECT DISTINCT coalesce(exchange, ''), coalesce(symbol, ''), hour_number FROM ({trades})
    EXCEPT SELECT exchange, symbol, hour_number FROM cells
)
"""
_DELIVERIES = f"""
INSERT INTO deliveries
SELECT cell, reason, identity,
    CASE WHEN reason = {_VALID} THEN "timestamp" - trades.hour_number * {MICROSECONDS_PER_HOUR} END, source_sequence,
    CASE WHEN reason = {_VALID} THEN {{delay}} END
FROM ({{trades}}) AS trades JOIN cells
    ON cells.exchange = coalesce(trades.exchange, '') AND cells.symbol = coalesce(trades.symbol, '')
    AND cells.hour_number = trades.hour_number
"""
_REPEATED = f"""
INSERT INTO repeated SELECT identity FROM deliveries WHERE reason = {_VALID} GROUP BY identity HAVING count(*) > 1
"""
_VERSIONS = f"""
INSERT INTO versions
SELECT exchange, symbol, hour_number, trade_id, message_id, "timestamp", price, quantity, source_sequence,
    ingestion_timestamp, platform_sequence
FROM ({{trades}}) WHERE reason = {_VALID} AND identity IN (SELECT identity FROM repeated)
"""
_VERDICTS = f"""
INSERT INTO verdicts
WITH numbered AS (
    SELECT exchange, symbol, hour_number, "timestamp", price, quantity, row_number() OVER versions AS number,
        first_value("timestamp") OVER versions AS accepted_timestamp,
        first_value(price) OVER versions AS accepted_price, first_value(quantity) OVER versions AS accepted_quantity,
        min(ingestion_timestamp) OVER (
            PARTITION BY exchange, symbol, hour_number, trade_id, CASE WHEN trade_id IS NULL THEN message_id END
        ) AS ingestion_timestamp
    FROM versions WINDOW versions AS ({VERSIONS})
)
SELECT cell, CASE WHEN number = 1 THEN 'accepted'
        WHEN "timestamp" = accepted_timestamp AND price = accepted_price AND quantity = accepted_quantity
        THEN 'duplicate' ELSE 'superseded' END,
    "timestamp" - hour_number * {MICROSECONDS_PER_HOUR}, {{delay}}
FROM numbered JOIN cells USING (exchange, symbol, hour_number)
"""
_REJECTED = ", ".join(f"count(*) FILTER (reason = {number}) AS {name}" for number, name in enumerate(REJECTED_COLUMNS))
_DELAYS = ", ".join(f"count(*) FILTER (delay = {number})" for number in range(DELAY_COUNTS))
_NO_DELAYS = ", ".join("0" for _ in range(DELAY_COUNTS))
_COUNT = f"""
INSERT INTO counted BY NAME
WITH accepted_trades AS (
    SELECT cell, moment, delay FROM deliveries ANTI JOIN repeated USING (identity) WHERE reason = {_VALID}
    UNION ALL SELECT cell, moment, delay FROM verdicts WHERE verdict = 'accepted'
),
accepted AS (
    SELECT cell, count(*) AS accepted, min(moment) AS first_moment, max(moment) AS last_moment,
        bit_or(1::BIGINT << CAST(moment // {_MINUTE} AS INTEGER)) AS minutes, [{_DELAYS}] AS delays
    FROM accepted_trades GROUP BY cell
),
others AS (
    SELECT cell, count(*) FILTER (verdict = 'duplicate') AS duplicates,
        count(*) FILTER (verdict = 'superseded') AS superseded
    FROM verdicts GROUP BY cell
),
delivered AS (
    SELECT cell, count(*) AS deliveries, {_REJECTED},
        min(source_sequence) FILTER (reason = {_VALID}) AS lowest_sequence,
        max(source_sequence) FILTER (reason = {_VALID}) AS highest_sequence
    FROM deliveries GROUP BY cell
),
numbers AS (
    SELECT cell, count(DISTINCT source_sequence) AS sequences FROM deliveries WHERE reason = {_VALID} GROUP BY cell
)
SELECT exchange, symbol, CAST(make_timestamp(hour_number * {MICROSECONDS_PER_HOUR}) AS TIMESTAMPTZ) AS hour,
    delivered.* EXCLUDE (cell), coalesce(accepted, 0) AS accepted,
    coalesce(duplicates, 0) AS duplicates, coalesce(superseded, 0) AS superseded,
    CAST(make_timestamp(hour_number * {MICROSECONDS_PER_HOUR} + first_moment) AS TIMESTAMPTZ) AS first_trade,
    CAST(make_timestamp(hour_number * {MICROSECONDS_PER_HOUR} + last_moment) AS TIMESTAMPTZ) AS last_trade,
    coalesce(sequences, 0) AS sequences, coalesce(minutes, 0) AS minutes, coalesce(delays, [{_NO_DELAYS}]) AS delays,
    false AS source_expired
FROM cells JOIN delivered USING (cell) LEFT JOIN accepted USING (cell) LEFT JOIN others USING (cell)
    LEFT JOIN numbers USING (cell)
"""


@contextmanager
def counting_database() -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database in memory with an empty table `counted`, which has the columns of the coverage."""
    with temporary_folder() as folder, duckdb.connect() as connection:
        for setting in (
            "TimeZone = 'UTC'",
            f"memory_limit = '{MEMORY}'",
            f"temp_directory = '{folder}'",
            "preserve_insertion_order = false",
        ):
            connection.execute(f"SET {setting}")
        connection.execute(f"CREATE TEMP TABLE counted ({_COUNTED})")
        try:
            yield connection
        except duckdb.OutOfMemoryException as error:
            raise OhlcvError(
                f"counting an hour of trades needs more than {MEMORY} and the space in {tempfile.gettempdir()}: "
                "free space there, or set TMPDIR to a larger folder"
            ) from error


def count_hours(
    connection: duckdb.DuckDBPyConnection, trades: TradesTable, hours: Iterable[int], tasks: Sequence[FileScanTask]
) -> None:
    """Add the rows of some hours to the table `counted`. The files have all trades of the hours."""
    chosen = sorted(hours)
    connection.execute(_CHUNK)
    # Message ids are long and all different, so they are not read where every trade has an id.
    first = trades.columns
    if trades.mapping.is_default and all_have_trade_ids(trades, tasks):
        first = tuple(name for name in first if name not in (MESSAGE_ID, PLATFORM_SEQUENCE))
    values = {"trades": _selected(trades, chosen, first), "delay": _delay_number()}
    for _ in _row_batches(connection, trades, first, chosen, tasks):
        connection.execute(_CELLS.format(**values))
        connection.execute(_DELIVERIES.format(**values))
    if not trades.mapping.every_row:
        connection.execute(_REPEATED)
        ((repeated,),) = connection.execute("SELECT count(*) FROM repeated").fetchall()
        values["trades"] = _selected(trades, chosen, trades.columns)
        for _ in _row_batches(connection, trades, trades.columns, chosen, tasks if repeated else ()):
            connection.execute(_VERSIONS.format(**values))
        connection.execute(_VERDICTS.format(**values))
    connection.execute(_COUNT)
    for name in ("deliveries", "versions", "verdicts", "repeated", "cells"):
        connection.execute(f"DROP TABLE {name}")


def hours_of_rows(trades: TradesTable, task: FileScanTask) -> set[int]:
    """Return the hours of the trades of a file."""
    found: set[int] = set()
    columns = trades.columns
    query = f"SELECT DISTINCT hour_number FROM ({_with_hours(trades, columns)})"
    with counting_database() as connection:
        for _ in _row_batches(connection, trades, columns, None, [task]):
            found.update(number for (number,) in connection.execute(query).fetchall() if number is not None)
    return {number for number in found if FIRST_HOUR <= number <= LAST_HOUR}


def _with_hours(trades: TradesTable, columns: Sequence[str]) -> str:
    """Return the SQL of the rows in `trade_rows` that are in an hour, as trades of the contract."""
    if trades.mapping.is_default:
        absent = "".join(f", NULL AS {name}" for name in trades.columns if name not in columns)
        rows = f"SELECT *{absent}, NULL AS amount_fault FROM trade_rows"
    else:
        rows = projection(trades.mapping, trades.kinds, "trade_rows")
    is_hour = f"exchange_hour BETWEEN 0 AND {HOURS_PER_DAY - 1}" if trades.mapping.has_hours else "true"
    return f"SELECT *, {hour_of_trade(trades.mapping)} AS hour_number FROM ({rows}) WHERE {is_hour}"


def _selected(trades: TradesTable, hours: Sequence[int], columns: Sequence[str]) -> str:
    """Return the SQL of the trades of some hours, with their reason of rejection and a hash of their identity."""
    identity = "false" if trades.mapping.every_row else "trade_id IS NULL AND message_id IS NULL"
    hour = floor_division('"timestamp"', MICROSECONDS_PER_HOUR)
    conditions = {
        "null_key": f'symbol IS NULL OR exchange IS NULL OR "timestamp" IS NULL OR {identity}',
        **{fault: f"amount_fault = '{fault}'" for fault in AMOUNT_FAULTS},
        "bad_price": "price IS NULL OR price <= 0",
        "bad_quantity": "quantity IS NULL OR quantity <= 0",
        "wrong_partition": f"{hour} <> hour_number",
    }
    reasons = " ".join(f"WHEN {conditions[reason]} THEN {number}" for number, reason in enumerate(ROW_REJECTIONS))
    return f"""
        SELECT *, CASE {reasons} ELSE {_VALID} END AS reason,
            {IDENTITY_HASH} AS identity
        FROM ({_with_hours(trades, columns)})
        WHERE hour_number IN ({", ".join(map(str, hours))})
    """


def _delay_number() -> str:
    """Return the SQL of the position of an arrival delay in the column `delays`."""
    # The valid timestamp is far from the limits of its type, an ingestion time may be any number.
    bounds = " ".join(
        f'WHEN ingestion_timestamp <= "timestamp" + {round(bound * 1_000_000)} THEN {number}'
        for number, bound in enumerate(DELAY_BOUNDS)
    )
    return f"CASE WHEN ingestion_timestamp IS NULL THEN {DELAY_COUNTS - 1} {bounds} ELSE {DELAY_COUNTS - 2} END"


def _row_batches(
    connection: duckdb.DuckDBPyConnection,
    trades: TradesTable,
    columns: Sequence[str],
    hours: Sequence[int] | None,
    tasks: Iterable[FileScanTask],
) -> Iterator[None]:
    """Register the rows of the files as `trade_rows`, about `_BATCH_ROWS` at a time."""
    for rows in read_rows(trades, columns, hours, tasks, _BATCH_ROWS):
        connection.register("trade_rows", rows)
        yield
        connection.unregister("trade_rows")
