"""The scratch database of a load: rows wait there on disk, so that memory stays bounded whatever is loaded."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator

import duckdb
import pyarrow as pa
from pyiceberg.table import Table

from ohlcv.iceberg.tables import row_filter
from ohlcv.ingest.file_readers import CHUNK_ROWS
from ohlcv.ingest.formats import TRADE_SCHEMA
from ohlcv.model.errors import OhlcvError
from ohlcv.model.source_hours import blocks_of_run, partition_blocks
from ohlcv.model.table_contracts import TRADES

Scratch = duckdb.DuckDBPyConnection

# The scratch database may use this much memory before it goes to disk.
SCRATCH_MEMORY = "600MB"
# Above this many blocks of hours the search for loaded trades prunes by the first and last hour only.
MOST_BLOCKS = 60
# pyiceberg goes through all rows of a part once for each of its hours: a part of thin hours must be small.
PART_HOURS = 300

_COLUMNS = ", ".join(TRADES.column_names)
_HOUR = "(exchange_date - DATE '1970-01-01') * 24 + exchange_hour"
# A message is known by its id, on its exchange and symbol, in its hour: an id that two exchanges use is two messages.
_IDENTITY = ("hour", "message_id", "exchange", "symbol")


@contextlib.contextmanager
def open_scratch() -> Iterator[Scratch]:
    """Open a scratch database that is gone afterwards."""
    try:
        with tempfile.TemporaryDirectory(prefix="ohlcv-load-") as folder:
            config: dict[str, str | bool | int | float | list[str]] = {
                "memory_limit": SCRATCH_MEMORY,
                "temp_directory": f"{folder}/spill",
            }
            with duckdb.connect(f"{folder}/staged.duckdb", config=config) as connection:
                connection.execute("SET enable_progress_bar = false")
                connection.execute(f"CREATE TABLE staged (hour BIGINT, {_duckdb_types()})")
                connection.execute(
                    "CREATE TABLE known (hour BIGINT, message_id VARCHAR, exchange VARCHAR, symbol VARCHAR)"
                )
                yield connection
    except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
        reason = str(error).splitlines()[0]
        raise OhlcvError(
            f"staging the trades in {tempfile.gettempdir()} failed ({reason}): nothing was loaded"
        ) from None


def _duckdb_types() -> str:
    """Give the trades' columns as DuckDB declares them."""
    names = {
        "string": "VARCHAR",
        "long": "BIGINT",
        "list<string>": "VARCHAR[]",
        "map<string, string>": "MAP(VARCHAR, VARCHAR)",
    }
    return ", ".join(f"{column.name} {names.get(column.type, column.type)}" for column in TRADES.columns)


def stage(scratch: Scratch, rest: str = "") -> None:
    """Stage the rows of the table `judged`, or those that the rest of the query chooses."""
    scratch.execute(f"INSERT INTO staged SELECT {_HOUR}, {_COLUMNS} FROM judged {rest}")


def count_staged(scratch: Scratch) -> int:
    """Count the rows that wait."""
    [(count,)] = scratch.execute("SELECT count(*) FROM staged").fetchall()
    return int(count)


def drop_doubles(scratch: Scratch) -> int:
    """Keep the first of rows staged twice."""
    before = count_staged(scratch)
    identity = ", ".join(_IDENTITY)
    scratch.execute(
        f"CREATE TEMP TABLE doubles AS SELECT {identity}, min(rowid) AS first FROM staged GROUP BY {identity} "
        "HAVING count(*) > 1"
    )
    scratch.execute(f"DELETE FROM staged USING doubles WHERE {_same('doubles')} AND staged.rowid > doubles.first")
    return before - count_staged(scratch)


def drop_known(scratch: Scratch, table: Table) -> int:
    """Drop the staged rows that the table has; only the partitions they would go to are read."""
    before = count_staged(scratch)
    if not before or table.current_snapshot() is None:
        return 0
    columns = ("message_id", "exchange", "symbol", "exchange_date", "exchange_hour")
    scan = table.scan(row_filter=_partition_filter(scratch), selected_fields=columns)
    scratch.execute("DELETE FROM known")
    for batch in scan.to_arrow_batch_reader():
        scratch.register("batch", pa.Table.from_batches([batch]))
        scratch.execute(f"INSERT INTO known SELECT {_HOUR}, message_id, exchange, symbol FROM batch")
        scratch.unregister("batch")
    scratch.execute(f"DELETE FROM staged USING known WHERE {_same('known')}")
    return before - count_staged(scratch)


def _same(other: str) -> str:
    # Trades of unknown symbol are kept in the table too (the job rejects them): NULL is the same as NULL here.
    return " AND ".join(f"staged.{name} IS NOT DISTINCT FROM {other}.{name}" for name in _IDENTITY)


def _partition_filter(scratch: Scratch) -> str:
    hours = [hour for (hour,) in scratch.execute("SELECT DISTINCT hour FROM staged").fetchall()]
    blocks = list(partition_blocks(hours))
    if len(blocks) > MOST_BLOCKS:
        blocks = list(blocks_of_run(min(hours), max(hours)))
    return row_filter(blocks)


def staged_parts(scratch: Scratch) -> Iterator[pa.Table]:
    """Give the staged rows in bounded parts of whole hours, so that an hour gets one file where it can."""
    hours = scratch.execute("SELECT hour, count(*) FROM staged GROUP BY hour ORDER BY hour").fetchall()
    spans: list[list[tuple[int, int]]] = []
    for hour, count in hours:
        if spans and sum(rows for _, rows in spans[-1]) + count <= CHUNK_ROWS and len(spans[-1]) < PART_HOURS:
            spans[-1].append((hour, count))
        else:
            spans.append([(hour, count)])
    for span in spans:
        first, last, count = span[0][0], span[-1][0], sum(rows for _, rows in span)
        # The order of the rows is kept: they stay as their file had them.
        relation = scratch.sql(f"SELECT {_COLUMNS} FROM staged WHERE hour BETWEEN {first} AND {last} ORDER BY rowid")
        if count <= CHUNK_ROWS:
            yield relation.to_arrow_table().cast(TRADE_SCHEMA)
        else:
            for batch in relation.to_arrow_reader(CHUNK_ROWS):
                yield pa.Table.from_batches([batch]).cast(TRADE_SCHEMA)
