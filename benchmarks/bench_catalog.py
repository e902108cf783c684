"""Catalogs of the benchmarks: real Iceberg tables with generated rows, whose state can be saved and restored."""

from __future__ import annotations

import itertools
import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.io.pyarrow import _dataframe_to_data_files
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyiceberg.typedef import Record

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.model.intervals import HOUR, MICROSECOND, Range, to_microseconds
from ohlcv.model.table_contracts import CANDLE_COLUMNS, TableContract
from ohlcv.model.timeframes import Timeframe

# Columns that must be equal in a comparison: all except the times at which a row was written.
RESULT_COLUMNS = tuple(column.name for column in CANDLE_COLUMNS if column.name not in ("created_at", "updated_at"))
# Number of partitions that are written together.
PARTITION_BATCH = 24
KEY_ORDER = [("window_start", "ascending"), ("symbol", "ascending"), ("exchange", "ascending")]


class BenchCatalog:
    """A new catalog in a folder."""

    def __init__(self, home: Path) -> None:
        self.settings: Settings = load_settings({"OHLCV_HOME": str(home)})
        create_tables(self.settings)

    def timeframe(self, name: str) -> Timeframe:
        return self.settings.timeframe(name)

    def table(self, timeframe: str | None = None) -> Table:
        """Return the table of a timeframe, or the trades table."""
        return load_table(open_catalog(self.settings), self._contract(timeframe))

    def _contract(self, timeframe: str | None) -> TableContract:
        settings = self.settings
        return settings.candles_contract(self.timeframe(timeframe)) if timeframe else settings.trades_contract

    def append(
        self,
        rows: pa.Table,
        timeframe: str | None = None,
        summary: dict[str, str] | None = None,
        days_before: int = 0,
    ) -> int:
        """Append rows in one commit and return its snapshot id.

        `days_before` adds that many earlier days by metadata alone: entries of files that do not exist and that no
        query reads.
        """
        table, contract = self.table(timeframe), self._contract(timeframe)
        # The same as pyiceberg's append, but in batches of partitions: it filters all rows once for each partition.
        with table.transaction() as transaction, transaction.update_snapshot(summary or {}).fast_append() as files:
            written = [
                file
                for part in _some_partitions(rows, [each.column for each in contract.partitions])
                for file in _dataframe_to_data_files(transaction.table_metadata, part, table.io)
            ]
            # The files are ordered by partition, so the first file belongs to the first day.
            first_day = [file for file in written if file.partition[0] == written[0].partition[0]]
            earlier = [_earlier(file, days) for days in range(1, days_before + 1) for file in first_day]
            for file in (*written, *earlier):
                files.append_data_file(file)
        snapshot = table.current_snapshot()
        assert snapshot is not None
        return snapshot.snapshot_id

    def candles(self, timeframe: str, candle_range: Range) -> pa.Table:
        """Return the stored candles of a range, ordered by key."""
        start, end = candle_range.start.isoformat(), candle_range.end.isoformat()
        condition = f"window_start >= '{start}' AND window_start < '{end}'"
        return self.table(timeframe).scan(condition, selected_fields=RESULT_COLUMNS).to_arrow().sort_by(KEY_ORDER)

    def save_state(self) -> dict[str, str]:
        """Return the metadata location of every table."""
        with sqlite3.connect(str(self.settings.catalog.embedded_database)) as catalog:
            return dict(catalog.execute("SELECT table_name, metadata_location FROM iceberg_tables").fetchall())

    def restore_state(self, state: dict[str, str]) -> None:
        """Restore the metadata location of every table, so that the next run finds the same state."""
        with sqlite3.connect(str(self.settings.catalog.embedded_database)) as catalog:
            catalog.executemany(
                "UPDATE iceberg_tables SET metadata_location = ?, previous_metadata_location = NULL "
                "WHERE table_name = ?",
                [(location, name) for name, location in state.items()],
            )

    def lengthen_history(self, timeframe: str | None, snapshots: int) -> None:
        """Add snapshots to the metadata of a table, as many small commits would leave them.

        Each added snapshot has the previous one as parent, as in a table with a commit every five minutes. It
        references the manifests of the oldest real snapshot.
        """
        name = self._contract(timeframe).name
        path = Path(urlsplit(self.save_state()[name]).path)
        metadata: dict[str, Any] = json.loads(path.read_text())
        real = sorted(metadata["snapshots"], key=lambda each: int(each["timestamp-ms"]))
        first = real[0]
        added: list[dict[str, Any]] = []
        missing = snapshots - len(real)
        for number in range(missing):
            # Real ids are random 63-bit numbers. These only have to be distinct.
            entry = {
                **first,
                "snapshot-id": first["snapshot-id"] // 2 - number,
                "timestamp-ms": first["timestamp-ms"] - (missing - number),
            }
            if added:
                entry["parent-snapshot-id"] = added[-1]["snapshot-id"]
            added.append(entry)
        if not added:
            return
        first["parent-snapshot-id"] = added[-1]["snapshot-id"]
        metadata["snapshots"] = [*added, *real]
        log = [{"snapshot-id": each["snapshot-id"], "timestamp-ms": each["timestamp-ms"]} for each in added]
        metadata["snapshot-log"] = [*log, *metadata["snapshot-log"]]
        longer = path.with_name(f"00000-longer-{time.monotonic_ns()}.metadata.json")
        longer.write_text(json.dumps(metadata, separators=(",", ":")))
        self.restore_state({name: f"file://{longer}"})


def _earlier(file: DataFile, days: int) -> DataFile:
    """Return the metadata entry of a similar file of an earlier day."""
    day = file.partition[0] - (timedelta(days) if isinstance(file.partition[0], date) else days)
    values = list(file._data)
    # Fields 1 and 3 of a data file are its path and its partition.
    values[1], values[3] = f"{file.file_path}-{days}", Record(day, *file.partition._data[1:])
    return DataFile(*values)


def _some_partitions(rows: pa.Table, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Sort a table by partition and split it into batches of complete partitions."""
    keys = [pc.cast(rows[column], pa.int32()).to_numpy() for column in columns]
    order = np.lexsort(keys[::-1])
    first = np.flatnonzero(np.any([np.diff(key[order], prepend=-1) != 0 for key in keys], axis=0))
    begins = [*first[::PARTITION_BATCH], len(order)]
    for begin, end in itertools.pairwise(begins):
        yield rows.take(order[begin:end])


def delivered_again(rows: pa.Table) -> pa.Table:
    """Return the same trades, ingested an hour later under other message ids."""
    again = {
        "ingestion_timestamp": pc.add(rows["ingestion_timestamp"], HOUR // MICROSECOND),
        "message_id": pc.binary_join_element_wise(rows["message_id"], "again", "-"),
    }
    return pa.table({name: again.get(name, rows[name]) for name in rows.column_names}, schema=rows.schema)


def with_series(trades: pa.Table, series: int) -> pa.Table:
    """Copy the trades of eight series under other symbols until there are the given number of series."""
    if series <= 8:
        return trades
    copies = []
    for number in range(series // 8):
        # Message ids must be unique. Trade ids only have to be unique within a series.
        renamed = {
            "symbol": pc.binary_join_element_wise(trades["symbol"], f"{number:03}", "."),
            "message_id": pc.binary_join_element_wise(trades["message_id"], f"{number:03}", "."),
        }
        copy = trades
        for name, values in renamed.items():
            copy = copy.set_column(copy.schema.get_field_index(name), copy.schema.field(name), values)
        copies.append(copy)
    return pa.concat_tables(copies).sort_by("timestamp")


def generated_candles(table: Table, candle_range: Range, timeframe: Timeframe, trades: pa.Table) -> pa.Table:
    """Return random candles for every window of a range and every series of the trades."""
    series = trades.group_by(["symbol", "exchange"]).aggregate([]).sort_by("symbol")
    windows = (candle_range.end - candle_range.start) // timeframe.length
    starts = to_microseconds(candle_range.start) + np.arange(windows) * timeframe.microseconds
    each = np.repeat(np.arange(len(series)), windows)
    start = np.tile(starts, len(series))
    random = np.random.default_rng(len(each))
    count = len(each)
    low = random.integers(10**8, 10**13, count)
    prices = {
        "low_price": low,
        "open_price": low + 1_000_000,
        "close_price": low + 2_000_000,
        "vwap": low + random.integers(1, 2_999_999, count),
        "high_price": low + 3_000_000,
        "volume": random.integers(1, 10**12, count),
    }
    schema = table.schema().as_arrow()
    times = {
        "window_start": start,
        "window_end": start + timeframe.microseconds,
        "created_at": start + 2 * timeframe.microseconds,
        "updated_at": start + 2 * timeframe.microseconds,
    }
    columns: dict[str, pa.Array] = {
        "symbol": series["symbol"].combine_chunks().take(pa.array(each)),
        "exchange": series["exchange"].combine_chunks().take(pa.array(each)),
        "window_date": pa.array((start // (24 * 3_600_000_000)).astype(np.int32)).cast(pa.date32()),
        "trade_count": pa.array(random.integers(1, 500, count)),
        **{name: pa.array(values).cast(schema.field(name).type) for name, values in times.items()},
        **{name: _amounts(values) for name, values in prices.items()},
    }
    return pa.table({name: columns[name] for name in schema.names}).cast(schema)


def _amounts(units: Any) -> pa.Array:
    """Return decimals whose unscaled values are the given integers."""
    halves = np.stack([units, units >> 63], axis=1)
    return pa.Array.from_buffers(pa.decimal128(18, 8), len(units), [None, pa.py_buffer(halves)])
