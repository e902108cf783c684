"""Causes of revisions: how the trades of a window differ between the trades snapshots of two versions of its candle.

Only hours whose files differ between the snapshots are read. All versions of a trade are in one hour.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import duckdb
import pyarrow as pa
from pyiceberg.expressions import And, In, SetPredicate
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.table import FileScanTask

from ohlcv.iceberg.changed_files import FileKey, file_key
from ohlcv.iceberg.damage import report_damage, report_damaged_file
from ohlcv.model.errors import DamagedFileError
from ohlcv.model.intervals import HOUR, MICROSECOND
from ohlcv.model.ledger_records import Publication
from ohlcv.model.timeframes import Timeframe
from ohlcv.quality.recomputation import CHUNK_ROWS
from ohlcv.quality.trade_versions import TRADE_FIELDS, latest_version, trades_query
from ohlcv.readers.trades import TradesTable

# Trades of at most this many symbols are selected when files are read; of more, all are read.
MAX_SYMBOLS = 100
_HOUR = HOUR // MICROSECOND
Files = dict[FileKey, FileScanTask]
_IDENTITY = ("symbol", "exchange", "hour_number", "trade_id", "message_key")

_REQUESTS = """
CREATE TEMP TABLE requests (
    id BIGINT, symbol VARCHAR, exchange VARCHAR, start BIGINT, before BIGINT, after BIGINT, is_assumed BOOLEAN,
    is_unknown BOOLEAN
);
CREATE TEMP TABLE stamps (stamp TIMESTAMPTZ, snapshot BIGINT)
"""
# `is_assumed`: the ledger does not know the trades snapshot of the old version, and compares with the first it knows.
_ADD = """
INSERT INTO requests
SELECT id, symbol, exchange, epoch_us(window_start),
    CASE WHEN change = 'inserted' THEN $previous ELSE coalesce(stamps.snapshot, $first) END, $after,
    change <> 'inserted' AND stamps.snapshot IS NULL, NULL
FROM changes LEFT JOIN stamps ON stamps.stamp = changes.old_stamp
WHERE publication = $publication AND window_start IS NOT NULL
"""
_TABLES = f"""
CREATE OR REPLACE TEMP TABLE file_trades (file INTEGER, identity UBIGINT, {TRADE_FIELDS});
CREATE OR REPLACE TEMP TABLE found (id BIGINT, cause VARCHAR, newest BIGINT)
"""
# Versions of a trade have the same hash; different trades seldom have.
_LOAD = """
INSERT INTO file_trades
SELECT {number}, hash(symbol, exchange, hour_number, trade_id, CASE WHEN trade_id IS NULL THEN message_id END), *
FROM ({query})
"""
# Only trades of which a version is in a file that differs can differ.
_TOUCHED = """
CREATE OR REPLACE TEMP TABLE touched AS
SELECT DISTINCT identity FROM file_trades
WHERE file IN ({files}) AND (symbol, exchange) IN (SELECT (symbol, exchange) FROM wanted)
"""
# Trades as one of two snapshots has them.
_SNAPSHOT = """
CREATE OR REPLACE TEMP TABLE {name} AS
SELECT *, CASE WHEN trade_id IS NULL THEN message_id END AS message_key FROM file_trades
WHERE valid AND file IN ({files}) AND identity IN (SELECT identity FROM touched) {latest}
"""
_WANTED = """
CREATE OR REPLACE TEMP TABLE wanted AS
SELECT id, symbol, exchange, start, start + {length} AS stop FROM requests
WHERE before = {before} AND after = {after}
"""
_FORGET = """
UPDATE requests SET is_unknown = true
WHERE before = $before AND after = $after AND start < $hour_end AND start + $length > $hour_start
"""
_DIFFERENT_VERSIONS = f"""
SELECT coalesce(new.symbol, old.symbol) AS symbol, coalesce(new.exchange, old.exchange) AS exchange,
    old."timestamp" AS old_time, new."timestamp" AS new_time, new.ingestion_timestamp AS ingested
FROM old_trades AS old FULL JOIN new_trades AS new
    ON {" AND ".join(f"old.{name} IS NOT DISTINCT FROM new.{name}" for name in _IDENTITY)}
WHERE old."timestamp" IS NULL OR new."timestamp" IS NULL OR old."timestamp" <> new."timestamp"
    OR old.price <> new.price OR old.quantity <> new.quantity
    OR old.source_sequence IS DISTINCT FROM new.source_sequence
"""
# Where every row is a trade, a trade has no identity: a corrected one is removed and added.
_DIFFERENT_ROWS = """
SELECT symbol, exchange, CASE WHEN sum(side) < 0 THEN "timestamp" END AS old_time,
    CASE WHEN sum(side) > 0 THEN "timestamp" END AS new_time, max(ingested) AS ingested
FROM (
    SELECT *, 1 AS side, ingestion_timestamp AS ingested FROM new_trades
    UNION ALL SELECT *, -1 AS side, NULL AS ingested FROM old_trades
) GROUP BY symbol, exchange, "timestamp", price, quantity, source_sequence, trade_id HAVING sum(side) <> 0
"""
_FOUND = """
INSERT INTO found
SELECT id, CASE
    WHEN old_time IS NULL THEN 'trade added'
    WHEN new_time IS NULL THEN 'trade removed'
    WHEN old_time >= start AND old_time < stop AND new_time >= start AND new_time < stop THEN 'trade corrected'
    ELSE 'trade moved' END AS cause, max(ingested)
FROM wanted JOIN ({different}) AS different USING (symbol, exchange)
WHERE old_time >= start AND old_time < stop OR new_time >= start AND new_time < stop
GROUP BY ALL
"""
_STORE = """
UPDATE changes SET causes = result.causes, lateness = result.newest - (epoch_us(window_start) + {length})
FROM (
    SELECT id, list(cause ORDER BY cause) AS causes, max(newest) FILTER (cause = 'trade added') AS newest FROM (
        SELECT id, cause, max(newest) AS newest FROM found
        WHERE id NOT IN (SELECT id FROM requests WHERE is_unknown) GROUP BY id, cause
        UNION ALL SELECT id, 'unknown', NULL FROM requests
        WHERE is_unknown OR is_assumed AND id NOT IN (SELECT id FROM found)
    ) GROUP BY id
) AS result WHERE changes.id = result.id
"""


def create_requests(connection: duckdb.DuckDBPyConnection, stamps: Mapping[datetime, int | None]) -> None:
    """Create the table of changes whose causes are searched, given the trades snapshots of the known stamps."""
    for statement in _REQUESTS.split(";"):
        connection.execute(statement)
    known = {stamp: snapshot for stamp, snapshot in stamps.items() if snapshot is not None}
    columns = {
        "stamp": pa.array(known.keys(), pa.timestamp("us", "UTC")),
        "snapshot": pa.array(known.values(), pa.int64()),
    }
    connection.register("stamp_rows", pa.table(columns))
    connection.execute("INSERT INTO stamps SELECT stamp, snapshot FROM stamp_rows")
    connection.unregister("stamp_rows")


def add_requests(
    connection: duckdb.DuckDBPyConnection, publication: Publication, first: int | None, previous: int | None
) -> None:
    """Request the causes of the changes of a publication, and remember its stamp.

    The old version of a candle was built from the trades snapshot of the publication with its stamp, or else from
    `first` or an older one; a candle that did not exist is compared with `previous`.
    """
    values = {
        "publication": publication.number,
        "after": publication.trades_snapshot,
        "first": first,
        "previous": previous,
    }
    connection.execute(_ADD, values)
    if publication.written_at is not None and publication.trades_snapshot is not None:
        connection.execute("INSERT INTO stamps VALUES (?, ?)", [publication.written_at, publication.trades_snapshot])


def store_causes(
    connection: duckdb.DuckDBPyConnection, timeframe: Timeframe, load_trades: Callable[[], TradesTable]
) -> None:
    """Store the causes and the lateness of the requested changes in the table `changes`, and remove the requests."""
    ((count,),) = connection.execute("SELECT count(*) FROM requests").fetchall()
    if not count:
        return
    trades = load_trades()
    available = ", ".join(str(snapshot.snapshot_id) for snapshot in trades.table.snapshots()) or "NULL"
    connection.execute(
        f"UPDATE requests SET is_unknown = NOT coalesce(before IN ({available}) AND after IN ({available}), false)"
    )
    for statement in _TABLES.split(";"):
        connection.execute(statement)
    _Search(connection, trades, timeframe).run()
    connection.execute(_STORE.format(length=timeframe.microseconds))
    for name in ("requests", "file_trades", "found"):
        connection.execute(f"DELETE FROM {name}")


@dataclass(frozen=True)
class _Chunk:
    """Hours whose trades are read together, and the pairs of snapshots between which one of their files differs."""

    hours: list[int]
    pairs: set[tuple[int, int]]
    symbols: set[str]


class _Search:
    """Search for the trades that differ between pairs of trades snapshots."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, trades: TradesTable, timeframe: Timeframe) -> None:
        self._connection = connection
        self._trades = trades
        self._length = timeframe.microseconds
        # Pairs of snapshots and symbols by hour.
        self._pairs: defaultdict[int, set[tuple[int, int]]] = defaultdict(set)
        self._symbols: defaultdict[int, set[str]] = defaultdict(set)
        comparable = "FROM requests WHERE NOT is_unknown AND before <> after"
        for start, before, after in connection.execute(f"SELECT DISTINCT start, before, after {comparable}").fetchall():
            for hour in self._hours(start):
                self._pairs[hour].add((before, after))
        # A candle of another writer may have no symbol. No valid trade has none.
        named = f"{comparable} AND symbol IS NOT NULL"
        for start, symbol in connection.execute(f"SELECT DISTINCT start, symbol {named}").fetchall():
            for hour in self._hours(start):
                self._symbols[hour].add(symbol)
        snapshots = {snapshot for pairs in self._pairs.values() for pair in pairs for snapshot in pair}
        # Files by snapshot and hour.
        self._files = {snapshot: self._plan(snapshot) for snapshot in snapshots}

    def _hours(self, start: int) -> range:
        return range(start // _HOUR, (start + self._length - 1) // _HOUR + 1)

    def _plan(self, snapshot: int | None) -> Mapping[int, Files]:
        """Return the files of a snapshot, None for the current one, that may have trades of each hour.

        Reads only metadata.
        """
        ordered = sorted(self._pairs)
        scan = self._trades.table.scan(self._trades.hours_condition(ordered), snapshot_id=snapshot)
        with report_damage(self._trades.table, scan):
            tasks = list(scan.plan_files())
        found: dict[int, Files] = {hour: {} for hour in ordered}
        for task in tasks:
            for hour in self._trades.hours_in(task.file, ordered):
                found[hour][file_key(task)] = task
        return found

    def run(self) -> None:
        """Insert the differences into the table `found`."""
        latest = latest_version(self._trades.mapping)
        different = _DIFFERENT_ROWS if self._trades.mapping.every_row else _DIFFERENT_VERSIONS
        for chunk in self._chunks():
            files = {snapshot: self._files_of(snapshot, chunk.hours) for pair in chunk.pairs for snapshot in pair}
            numbers = self._load(chunk, {key: task for each in files.values() for key, task in each.items()})
            for before, after in sorted(chunk.pairs):
                self._connection.execute(_WANTED.format(length=self._length, before=before, after=after))
                different_files = files[before].keys() ^ files[after].keys()
                self._connection.execute(_TOUCHED.format(files=_listed(numbers, different_files)))
                for name, snapshot in (("old_trades", before), ("new_trades", after)):
                    chosen = _listed(numbers, files[snapshot])
                    self._connection.execute(_SNAPSHOT.format(name=name, files=chosen, latest=latest))
                self._connection.execute(_FOUND.format(different=different))

    def _chunks(self) -> Iterator[_Chunk]:
        """Yield the hours whose files differ, about `CHUNK_ROWS` trades at a time."""
        hours: list[int] = []
        pairs: set[tuple[int, int]] = set()
        rows = 0
        for hour in sorted(self._pairs):
            changed = {
                (before, after)
                for before, after in self._pairs[hour]
                if self._files[before][hour].keys() != self._files[after][hour].keys()
            }
            if not changed:
                continue
            files = {key: task for pair in changed for each in pair for key, task in self._files[each][hour].items()}
            count = sum(task.file.record_count for task in files.values())
            if hours and rows + count > CHUNK_ROWS:
                yield _Chunk(hours, pairs, set().union(*(self._symbols[each] for each in hours)))
                hours, pairs, rows = [], set(), 0
            hours, pairs, rows = [*hours, hour], pairs | changed, rows + count
        if hours:
            yield _Chunk(hours, pairs, set().union(*(self._symbols[each] for each in hours)))

    def _files_of(self, snapshot: int, hours: Iterable[int]) -> Files:
        return {key: task for hour in hours for key, task in self._files[snapshot][hour].items()}

    def _load(self, chunk: _Chunk, files: Files) -> dict[FileKey, int]:
        """Load the trades of files into the table `file_trades`, and return the number of each file."""
        trades, table = self._trades, self._trades.table
        self._connection.execute("DELETE FROM file_trades")
        condition = trades.hours_condition(chunk.hours)
        if trades.mapping.is_default and len(chunk.symbols) <= MAX_SYMBOLS:
            # Through the base class: mypy does not accept plain values for the pydantic fields of the other one.
            is_in: type[SetPredicate] = In
            condition = And(condition, is_in("symbol", chunk.symbols))
        reader = ArrowScan(table.metadata, table.io, table.schema().select(*trades.columns), condition)
        query = trades_query(trades, chunk.hours, "trade_rows")
        numbers: dict[FileKey, int] = {}
        for number, (key, task) in enumerate(files.items()):
            numbers[key] = number
            try:
                with report_damaged_file(table, task):
                    rows = reader.to_table([task])
            except DamagedFileError:
                if task.file.file_path in self._current_paths:
                    raise
                # A repair has dropped the file, so nobody will restore it.
                self._forget(key, trades.hours_in(task.file, chunk.hours))
                continue
            self._connection.register("trade_rows", rows)
            self._connection.execute(_LOAD.format(number=number, query=query))
            self._connection.unregister("trade_rows")
        return numbers

    @cached_property
    def _current_paths(self) -> set[str]:
        """Return the paths of the files that the present state of the trades table has."""
        return {task.file.file_path for files in self._plan(None).values() for task in files.values()}

    def _forget(self, key: FileKey, hours: Iterable[int]) -> None:
        """Make the causes unknown that depend on a file."""
        for hour in hours:
            for before, after in self._pairs[hour]:
                old, new = self._files[before][hour].keys(), self._files[after][hour].keys()
                if key in old | new and old != new:
                    span = {"hour_start": hour * _HOUR, "hour_end": (hour + 1) * _HOUR, "length": self._length}
                    self._connection.execute(_FORGET, {"before": before, "after": after, **span})


def _listed(numbers: Mapping[FileKey, int], files: Iterable[FileKey]) -> str:
    return ", ".join(str(number) for number in sorted(numbers[key] for key in files)) or "NULL"
