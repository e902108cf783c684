"""Catalogs to measure in: made-up trades and candles, real Iceberg tables, and a way back to where they stood."""

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
from ohlcv.model.intervals import Range, to_microseconds
from ohlcv.model.table_contracts import CANDLE_COLUMNS, TRADES, TableContract, candles_contract
from ohlcv.model.timeframes import Timeframe

# What two ways to the same candles must agree in; when a row was written is not part of the answer.
ANSWER = tuple(column.name for column in CANDLE_COLUMNS if column.name not in ("created_at", "updated_at"))
# A part of a table that is written at once.
PARTITIONS_AT_ONCE = 24
KEY_ORDER = [("window_start", "ascending"), ("symbol", "ascending"), ("exchange", "ascending")]


class World:
    """A catalog of its own."""

    def __init__(self, home: Path) -> None:
        self.settings: Settings = load_settings({"OHLCV_HOME": str(home)})
        create_tables(self.settings)

    def timeframe(self, name: str) -> Timeframe:
        return self.settings.timeframe(name)

    def table(self, timeframe: str | None = None) -> Table:
        """Load the table of a timeframe, or the trades."""
        return load_table(open_catalog(self.settings), self._contract(timeframe))

    def _contract(self, timeframe: str | None) -> TableContract:
        return candles_contract(self.timeframe(timeframe)) if timeframe else TRADES

    def append(
        self,
        rows: pa.Table,
        timeframe: str | None = None,
        summary: dict[str, str] | None = None,
        days_before: int = 0,
    ) -> int:
        """Append rows in one commit; give its snapshot.

        With `days_before`, the files of the first day stand for as many days before it too: metadata of a past that
        nobody reads.
        """
        table, contract = self.table(timeframe), self._contract(timeframe)
        # What pyiceberg's own append does, for some partitions at a time: it looks for each among all the rows.
        with table.transaction() as transaction, transaction.update_snapshot(summary or {}).fast_append() as files:
            written = [
                file
                for part in _some_partitions(rows, [each.column for each in contract.partitions])
                for file in _dataframe_to_data_files(transaction.table_metadata, part, table.io)
            ]
            # In the order of their partitions, so that the first one is of the first day.
            first_day = [file for file in written if file.partition[0] == written[0].partition[0]]
            earlier = [_earlier(file, days) for days in range(1, days_before + 1) for file in first_day]
            for file in (*written, *earlier):
                files.append_data_file(file)
        snapshot = table.current_snapshot()
        assert snapshot is not None
        return snapshot.snapshot_id

    def candles(self, timeframe: str, span: Range) -> pa.Table:
        """Read the stored candles of a range, in an order of their own."""
        condition = f"window_start >= '{span.start.isoformat()}' AND window_start < '{span.end.isoformat()}'"
        return self.table(timeframe).scan(condition, selected_fields=ANSWER).to_arrow().sort_by(KEY_ORDER)

    def bookmark(self) -> dict[str, str]:
        """Remember where every table stands."""
        with sqlite3.connect(self.settings.catalog.database) as catalog:
            return dict(catalog.execute("SELECT table_name, metadata_location FROM iceberg_tables").fetchall())

    def put_back(self, bookmark: dict[str, str]) -> None:
        """Set every table back to where it stood, so that the next run finds what the last one found."""
        with sqlite3.connect(self.settings.catalog.database) as catalog:
            catalog.executemany(
                "UPDATE iceberg_tables SET metadata_location = ?, previous_metadata_location = NULL "
                "WHERE table_name = ?",
                [(location, name) for name, location in bookmark.items()],
            )

    def lengthen_history(self, timeframe: str | None, snapshots: int) -> None:
        """Give a table so many snapshots: the metadata that as many small commits would have left.

        Every one is its parent's child, as in a table that is committed to every five minutes, and names the
        manifests of the oldest real one.
        """
        name = self._contract(timeframe).name
        path = Path(urlsplit(self.bookmark()[name]).path)
        metadata: dict[str, Any] = json.loads(path.read_text())
        own = sorted(metadata["snapshots"], key=lambda each: int(each["timestamp-ms"]))
        first = own[0]
        made: list[dict[str, Any]] = []
        wanted = snapshots - len(own)
        for number in range(wanted):
            # Ids are random 63-bit numbers in real tables; these only have to be distinct.
            entry = {
                **first,
                "snapshot-id": first["snapshot-id"] // 2 - number,
                "timestamp-ms": first["timestamp-ms"] - (wanted - number),
            }
            if made:
                entry["parent-snapshot-id"] = made[-1]["snapshot-id"]
            made.append(entry)
        if not made:
            return
        first["parent-snapshot-id"] = made[-1]["snapshot-id"]
        metadata["snapshots"] = [*made, *own]
        log = [{"snapshot-id": each["snapshot-id"], "timestamp-ms": each["timestamp-ms"]} for each in made]
        metadata["snapshot-log"] = [*log, *metadata["snapshot-log"]]
        longer = path.with_name(f"00000-longer-{time.monotonic_ns()}.metadata.json")
        longer.write_text(json.dumps(metadata, separators=(",", ":")))
        self.put_back({name: f"file://{longer}"})


def _earlier(file: DataFile, days: int) -> DataFile:
    """Give the metadata that a file like this of an earlier day would have."""
    day = file.partition[0] - (timedelta(days) if isinstance(file.partition[0], date) else days)
    values = list(file._data)
    # Of a data file: its path, its partition.
    values[1], values[3] = f"{file.file_path}-{days}", Record(day, *file.partition._data[1:])
    return DataFile(*values)


def _some_partitions(rows: pa.Table, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Cut a table, put in the order of its partitions, into parts that hold a few of them whole."""
    keys = [pc.cast(rows[column], pa.int32()).to_numpy() for column in columns]
    order = np.lexsort(keys[::-1])
    first = np.flatnonzero(np.any([np.diff(key[order], prepend=-1) != 0 for key in keys], axis=0))
    begins = [*first[::PARTITIONS_AT_ONCE], len(order)]
    for begin, end in itertools.pairwise(begins):
        yield rows.take(order[begin:end])


def with_series(trades: pa.Table, series: int) -> pa.Table:
    """Give the trades of eight series under other symbols too, until there are that many series."""
    if series <= 8:
        return trades
    copies = []
    for number in range(series // 8):
        # Copies carry ids of their own; trade ids are a series' own affair.
        renamed = {
            "symbol": pc.binary_join_element_wise(trades["symbol"], f"{number:03}", "."),
            "message_id": pc.binary_join_element_wise(trades["message_id"], f"{number:03}", "."),
        }
        copy = trades
        for name, values in renamed.items():
            copy = copy.set_column(copy.schema.get_field_index(name), copy.schema.field(name), values)
        copies.append(copy)
    return pa.concat_tables(copies).sort_by("timestamp")


def made_up_candles(table: Table, span: Range, timeframe: Timeframe, trades: pa.Table) -> pa.Table:
    """Make a candle for every window of a span and every series of some trades, for tables that have a past."""
    series = trades.group_by(["symbol", "exchange"]).aggregate([]).sort_by("symbol")
    windows = (span.end - span.start) // timeframe.length
    starts = to_microseconds(span.start) + np.arange(windows) * timeframe.microseconds
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
    made = pa.table({name: columns[name] for name in schema.names})
    return made.cast(schema)


def _amounts(units: Any) -> pa.Array:
    """Make decimals of integers by writing their 16 bytes."""
    halves = np.stack([units, units >> 63], axis=1)
    return pa.Array.from_buffers(pa.decimal128(18, 8), len(units), [None, pa.py_buffer(halves)])
