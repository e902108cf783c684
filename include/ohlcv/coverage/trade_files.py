"""Files of the trades table by the hours of their trades, and their rows in batches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.manifest import FileFormat
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask

from ohlcv.iceberg.damage import report_damage, report_damaged_file
from ohlcv.model.source_hours import consecutive_hours
from ohlcv.model.trade_layout import FIRST_HOUR, LAST_HOUR
from ohlcv.model.trade_mapping import TRADE_ID
from ohlcv.readers.trades import TradesTable

# The rows of a file that may have trades of more hours are read to know them.
MAX_FILE_HOURS = 1_000
# With more sequences of hours, files are selected by the first and the last hour.
_MAX_SEQUENCES = 60
# Rows that are decoded at a time.
_BATCH_ROWS = 131_072


@dataclass
class HourFiles:
    """The files that may have trades of an hour, and about how many they have of it."""

    tasks: list[FileScanTask] = field(default_factory=list)
    trades: float = 0.0


def find_hours(trades: TradesTable, task: FileScanTask) -> range | None:
    """Return the hours of which a file may have trades, None if the metadata does not limit them."""
    found = trades.stored_hours(task.file)
    hours = range(max(found.start, FIRST_HOUR), min(found.stop, LAST_HOUR + 1))
    return hours if len(hours) <= MAX_FILE_HOURS else None


def plan_files(trades: TradesTable, snapshot: int, hours: Sequence[int]) -> dict[int, HourFiles]:
    """Return the files of each of some hours, in ascending order. Hours without files are left out."""
    if not hours:
        return {}
    scan = trades.table.scan(_condition(trades, hours), snapshot_id=snapshot)
    with report_damage(trades.table, scan):
        tasks = list(scan.plan_files())
    found: defaultdict[int, HourFiles] = defaultdict(HourFiles)
    for task in tasks:
        within = trades.hours_in(task.file, hours)
        for hour in within:
            found[hour].tasks.append(task)
            found[hour].trades += task.file.record_count / len(within)
    return dict(found)


def all_have_trade_ids(trades: TradesTable, tasks: Iterable[FileScanTask]) -> bool:
    """Return whether the metadata of files of the contract says that every row has a trade id."""
    number = trades.table.schema().find_field(TRADE_ID).field_id
    return all((task.file.null_value_counts or {}).get(number) == 0 for task in tasks)


def read_rows(
    trades: TradesTable,
    columns: Sequence[str],
    hours: Sequence[int] | None,
    tasks: Iterable[FileScanTask],
    max_rows: int,
) -> Iterator[pa.Table]:
    """Yield at least the rows of some hours (None: all), about max_rows at a time."""
    tables: list[pa.Table] = []
    for task in tasks:
        with report_damaged_file(trades.table, task):
            for batch in _read_batches(trades, columns, hours, task):
                tables.append(pa.Table.from_batches([batch]).select(columns))
                if sum(map(len, tables)) >= max_rows:
                    yield _concatenated(tables)
                    tables = []
    if tables:
        yield _concatenated(tables)


def _concatenated(tables: list[pa.Table]) -> pa.Table:
    # Readers differ in the size of the offsets of texts.
    return pa.concat_tables(tables, promote_options="permissive")


def _read_batches(
    trades: TradesTable, columns: Sequence[str], hours: Sequence[int] | None, task: FileScanTask
) -> Iterator[pa.RecordBatch]:
    table = trades.table
    if trades.mapping.is_default and not task.delete_files and task.file.file_format == FileFormat.PARQUET:
        with table.io.new_input(task.file.file_path).open() as stream:
            reader = pq.ParquetFile(stream, pre_buffer=False, page_checksum_verification=True)
            if _has_columns(reader.schema_arrow, table.schema(), columns):
                # pyiceberg reads two million rows ahead.
                yield from reader.iter_batches(_BATCH_ROWS, columns=list(columns))
                return
    condition = AlwaysTrue() if hours is None or trades.mapping.is_default else _condition(trades, hours)
    scan = ArrowScan(table.metadata, table.io, table.schema().select(*columns), condition)
    if task.delete_files:
        yield from scan.to_record_batches([task])
    else:
        # The public method holds all rows of a file in memory.
        yield from scan._record_batches_from_scan_tasks_and_deletes([task], {})


def _has_columns(file: pa.Schema, table: Schema, columns: Sequence[str]) -> bool:
    """Return whether a file has the columns under their present names."""
    ids = {field.name: (field.metadata or {}).get(b"PARQUET:field_id") for field in file}
    return all(ids.get(name) == str(table.find_field(name).field_id).encode() for name in columns)


def _condition(trades: TradesTable, hours: Sequence[int]) -> BooleanExpression:
    """Return a row filter that selects at least the trades of some hours."""
    if len(list(consecutive_hours(hours))) > _MAX_SEQUENCES:
        return trades.hours_condition(range(min(hours), max(hours) + 1))
    return trades.hours_condition(hours)
