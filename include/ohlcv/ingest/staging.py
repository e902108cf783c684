"""Staging database of a load: a temporary DuckDB file, so that memory stays bounded for any number of rows."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator

import duckdb
import pyarrow as pa
from pyiceberg.table import Table

from ohlcv.config.temporary_folders import temporary_folder
from ohlcv.iceberg.damage import report_damage
from ohlcv.iceberg.tables import row_filter
from ohlcv.ingest.file_readers import CHUNK_ROWS
from ohlcv.ingest.formats import TRADE_SCHEMA
from ohlcv.model.errors import OhlcvError
from ohlcv.model.source_hours import blocks_of_consecutive_hours, partition_blocks
from ohlcv.model.table_contracts import TRADE_COLUMNS

StagingDatabase = duckdb.DuckDBPyConnection

# Above this limit the staging database spills to disk.
STAGING_MEMORY_LIMIT = "600MB"
# Above this number of blocks of hours, the search for loaded trades prunes by the first and last hour only.
MAX_FILTER_BLOCKS = 60
# pyiceberg scans all rows of an append once per hour partition, so the number of hours in one append is limited.
MAX_HOURS_PER_APPEND = 300

COLUMNS = ", ".join(column.name for column in TRADE_COLUMNS)
HOUR = "(exchange_date - DATE '1970-01-01') * 24 + exchange_hour"
# A message is identified by its id, exchange, symbol and hour: the same id on two exchanges is two messages.
_IDENTITY = ("hour", "message_id", "exchange", "symbol")


@contextlib.contextmanager
def open_staging() -> Iterator[StagingDatabase]:
    """Open a temporary staging database and delete it afterwards."""
    try:
        with _temporary_folder() as folder:
            config: dict[str, str | bool | int | float | list[str]] = {
                "memory_limit": STAGING_MEMORY_LIMIT,
                "temp_directory": f"{folder}/spill",
            }
            with duckdb.connect(f"{folder}/staged.duckdb", config=config) as connection:
                connection.execute("SET enable_progress_bar = false")
                connection.execute(f"CREATE TABLE staged (hour BIGINT, {_duckdb_columns()})")
                connection.execute(
                    "CREATE TABLE loaded (hour BIGINT, message_id VARCHAR, exchange VARCHAR, symbol VARCHAR)"
                )
                # For `content_matching`: rows of files without trade ids, and the trades to compare them with.
                connection.execute(
                    f"CREATE TABLE file_rows (file INTEGER, line BIGINT, hour BIGINT, {_duckdb_columns()})"
                )
                connection.execute(
                    "CREATE TABLE known (exchange VARCHAR, symbol VARCHAR, timestamp BIGINT, price DECIMAL(18, 8), "
                    "quantity DECIMAL(18, 8), side VARCHAR, source_sequence BIGINT, edge VARCHAR)"
                )
                yield connection
    except (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.TransactionException) as error:
        reason = str(error).splitlines()[0]
        raise OhlcvError(
            f"staging the trades in {tempfile.gettempdir()} failed ({reason}): nothing was loaded"
        ) from None


@contextlib.contextmanager
def _temporary_folder() -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(temporary_folder())
        except OSError as error:
            raise OhlcvError(
                f"no temporary folder can be created ({error.strerror}): free space, or set TMPDIR to another folder"
            ) from None
        yield folder


def _duckdb_columns() -> str:
    """Return the columns of the trades table as a DuckDB column list."""
    types = {
        "string": "VARCHAR",
        "long": "BIGINT",
        "list<string>": "VARCHAR[]",
        "map<string, string>": "MAP(VARCHAR, VARCHAR)",
    }
    return ", ".join(f"{column.name} {types.get(column.type, column.type)}" for column in TRADE_COLUMNS)


def stage(staging: StagingDatabase, where: str = "") -> None:
    """Stage the rows of the table `validated`, restricted by an optional WHERE clause."""
    staging.execute(f"INSERT INTO staged SELECT {HOUR}, {COLUMNS} FROM validated {where}")


def count_staged(staging: StagingDatabase) -> int:
    """Return the number of staged rows."""
    [(count,)] = staging.execute("SELECT count(*) FROM staged").fetchall()
    return int(count)


def dedupe_batch(staging: StagingDatabase) -> int:
    """Drop all but the first row of each message, and return the number of dropped rows."""
    before = count_staged(staging)
    identity = ", ".join(_IDENTITY)
    staging.execute(
        f"CREATE TEMP TABLE duplicates AS SELECT {identity}, min(rowid) AS first FROM staged GROUP BY {identity} "
        "HAVING count(*) > 1"
    )
    staging.execute(
        f"DELETE FROM staged USING duplicates WHERE {_same_message('duplicates')} AND staged.rowid > duplicates.first"
    )
    return before - count_staged(staging)


def drop_already_loaded(staging: StagingDatabase, table: Table) -> int:
    """Drop the staged rows that the table contains, and return their number; reads only partitions of staged rows."""
    before = count_staged(staging)
    if not before or table.current_snapshot() is None:
        return 0
    columns = ("message_id", "exchange", "symbol", "exchange_date", "exchange_hour")
    staging.execute("DELETE FROM loaded")
    insert = f"INSERT INTO loaded SELECT {HOUR}, message_id, exchange, symbol FROM batch"
    read_stored(staging, table, "staged", columns, insert)
    staging.execute(f"DELETE FROM staged USING loaded WHERE {_same_message('loaded')}")
    return before - count_staged(staging)


def _same_message(other: str) -> str:
    # The table also stores trades without a symbol (the job rejects them), so NULL equals NULL here.
    return " AND ".join(f"staged.{name} IS NOT DISTINCT FROM {other}.{name}" for name in _IDENTITY)


def read_stored(staging: StagingDatabase, table: Table, rows: str, columns: tuple[str, ...], insert: str) -> None:
    """Read the stored trades of the partitions of a staging table's rows; `insert` stores each `batch` of them."""
    scan = table.scan(row_filter=_partition_filter(staging, rows), selected_fields=columns)
    with report_damage(table, scan):
        for batch in scan.to_arrow_batch_reader():
            staging.register("batch", pa.Table.from_batches([batch]))
            staging.execute(insert)
            staging.unregister("batch")


def _partition_filter(staging: StagingDatabase, rows: str) -> str:
    hours = [hour for (hour,) in staging.execute(f"SELECT DISTINCT hour FROM {rows}").fetchall()]
    blocks = list(partition_blocks(hours))
    if len(blocks) > MAX_FILTER_BLOCKS:
        blocks = list(blocks_of_consecutive_hours(min(hours), max(hours)))
    return row_filter(blocks)


def staged_parts(staging: StagingDatabase) -> Iterator[pa.Table]:
    """Yield the staged rows in parts of bounded size and whole hours, so that most hours get one file."""
    hours = staging.execute("SELECT hour, count(*) FROM staged GROUP BY hour ORDER BY hour").fetchall()
    groups: list[list[tuple[int, int]]] = []
    for hour, count in hours:
        if (
            groups
            and sum(rows for _, rows in groups[-1]) + count <= CHUNK_ROWS
            and len(groups[-1]) < MAX_HOURS_PER_APPEND
        ):
            groups[-1].append((hour, count))
        else:
            groups.append([(hour, count)])
    for group in groups:
        first, last, count = group[0][0], group[-1][0], sum(rows for _, rows in group)
        # Ordered by rowid: rows keep the order of their file.
        relation = staging.sql(f"SELECT {COLUMNS} FROM staged WHERE hour BETWEEN {first} AND {last} ORDER BY rowid")
        if count <= CHUNK_ROWS:
            yield relation.to_arrow_table().cast(TRADE_SCHEMA)
        else:
            for batch in relation.to_arrow_reader(CHUNK_ROWS):
                yield pa.Table.from_batches([batch]).cast(TRADE_SCHEMA)
