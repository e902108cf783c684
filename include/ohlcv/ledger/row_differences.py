"""Candles that differ between consecutive publications, found by DuckDB in the files that differ.

The rows of a key are compared as a multiset, because another writer may store a key several times. Only the columns of
the contract are compared, and null equals null.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from types import TracebackType

import pyarrow as pa
from pyiceberg.expressions import AlwaysTrue, BooleanExpression, Or
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.table import FileScanTask, Table
from pyiceberg.table.snapshots import Snapshot

from ohlcv.iceberg.changed_files import FileKey, changed_files, file_key
from ohlcv.iceberg.damage import report_damage, report_damaged_file
from ohlcv.model.audit_records import HeldSeries
from ohlcv.model.intervals import HOUR, MICROSECOND, from_microseconds
from ohlcv.model.summary_keys import CHANGES
from ohlcv.model.table_contracts import CANDLE_COLUMNS, WIDE_AMOUNT
from ohlcv.model.timeframes import Timeframe
from ohlcv.quality.rule_database import report_memory, rule_database
from ohlcv.readers.scans import time_condition

# Rows of files that the next comparison probably needs again.
MAX_CACHED_ROWS = 1_000_000
# Changed keys in more partitions than this are searched in the other files by one range.
MAX_RANGES = 40

_NAMES = tuple(column.name for column in CANDLE_COLUMNS)
_COLUMNS = ", ".join(_NAMES)
_SELECTED = ", ".join(f"CAST(volume AS {WIDE_AMOUNT}) AS volume" if name == "volume" else name for name in _NAMES)
_HOUR = HOUR // MICROSECOND

# `changes` has a row per changed key that the ledger records, `old_values` the rows that the key had before.
# `old_stamp` is null where there was none.
_TABLES = """
CREATE SEQUENCE change_ids;
CREATE TABLE changes (
    id BIGINT, publication BIGINT, symbol VARCHAR, exchange VARCHAR, window_start TIMESTAMPTZ, change VARCHAR,
    old_stamp TIMESTAMPTZ, causes VARCHAR[], lateness BIGINT, held_since TIMESTAMPTZ, waived BOOLEAN
);
CREATE TABLE old_values (id BIGINT, {fields});
CREATE TEMP TABLE released (exchange VARCHAR, symbol VARCHAR, hour BIGINT, since TIMESTAMPTZ, waived BOOLEAN);
"""
_FIELDS = {"string": "VARCHAR", "timestamptz": "TIMESTAMPTZ", "date": "DATE", "long": "BIGINT"}
_VALUE_FIELDS = ", ".join(
    f"{column.name} {WIDE_AMOUNT if column.name == 'volume' else _FIELDS.get(column.type, column.type)}"
    for column in CANDLE_COLUMNS
)
_DIFFERENT = f"""
CREATE OR REPLACE TEMP TABLE different AS
SELECT {_COLUMNS}, sum(_side) AS copies FROM (
    SELECT {_COLUMNS}, 1 AS _side FROM added UNION ALL SELECT {_COLUMNS}, -1 AS _side FROM removed
) GROUP BY {_COLUMNS} HAVING sum(_side) <> 0
"""
_KEYS = """
CREATE OR REPLACE TEMP TABLE keys AS
SELECT nextval('change_ids') AS id, * FROM (SELECT DISTINCT symbol, exchange, window_start FROM different)
"""
_SAME_KEY = """keys.symbol IS NOT DISTINCT FROM {rows}.symbol AND keys.exchange IS NOT DISTINCT FROM {rows}.exchange
    AND keys.window_start IS NOT DISTINCT FROM {rows}.window_start"""
# All rows of the changed keys before and after, also those in files that do not differ.
_VERSIONS = f"""
CREATE OR REPLACE TEMP TABLE {{name}} AS
SELECT id, rows.* FROM keys JOIN (
    SELECT {_COLUMNS} FROM {{side}} UNION ALL SELECT {_COLUMNS} FROM others
) AS rows ON {_SAME_KEY.format(rows="rows")}
"""
_COUNTED = """
CREATE OR REPLACE TEMP TABLE counted AS
WITH before AS (SELECT id, count(*) AS copies, max(updated_at) AS stamp FROM old_rows GROUP BY id),
after AS (
    SELECT id, count(*) AS copies,
        bool_and(created_at IS NOT DISTINCT FROM $written_at AND updated_at IS NOT DISTINCT FROM $written_at) AS stamped
    FROM new_rows GROUP BY id
)
SELECT keys.*, before.stamp AS old_stamp,
    CASE WHEN before.id IS NULL THEN 'inserted' WHEN after.id IS NULL THEN 'deleted' ELSE 'updated' END AS change,
    before.id IS NULL AND after.copies = 1 AND after.stamped AND $written_at IS NOT NULL AS stamped,
    released.since AS held_since, coalesce(released.waived, false) AS waived
FROM keys LEFT JOIN before USING (id) LEFT JOIN after USING (id)
    LEFT JOIN released ON released.exchange = keys.exchange AND released.symbol = keys.symbol
        AND released.hour = floor_divide(epoch_us(keys.window_start), {group}) * {hours}
"""
# An insertion with the stamp of its publication needs no row.
_RECORD = f"""
INSERT INTO changes
SELECT id, $publication, symbol, exchange, window_start, change, old_stamp, [], NULL, held_since, waived
FROM counted WHERE NOT stamped OR held_since IS NOT NULL;
INSERT INTO old_values SELECT id, {_COLUMNS} FROM old_rows WHERE id IN (SELECT id FROM changes)
"""


@dataclass(frozen=True)
class Released:
    """Windows of a series that a publication no longer holds."""

    series: HeldSeries
    since: datetime
    waived: bool


@dataclass(frozen=True)
class ChangedCandles:
    """Number of keys that a publication changed, and the stamp of the candles that it wrote."""

    inserted: int
    updated: int
    deleted: int
    written_at: datetime | None


class RowDifferences:
    """Database with the differences of a batch of publications: tables `changes` and `old_values`."""

    def __init__(self, timeframe: Timeframe, memory: str) -> None:
        """`memory` is a limit such as 1024m. What does not fit is written to temporary files."""
        self._timeframe = timeframe
        self._memory = memory
        self._cached: dict[FileKey, pa.Table] = {}
        with ExitStack() as stack:
            self.connection = stack.enter_context(rule_database(memory))
            self.connection.execute(_TABLES.format(fields=_VALUE_FIELDS))
            self._resources = stack.pop_all()

    def __enter__(self) -> RowDifferences:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._resources.close()

    @property
    def changes(self) -> int:
        """Return the number of recorded changes."""
        ((count,),) = self.connection.execute("SELECT count(*) FROM changes").fetchall()
        return int(count)

    def clear(self) -> None:
        """Remove the recorded changes."""
        self.connection.execute("DELETE FROM changes; DELETE FROM old_values")

    def add(
        self,
        table: Table,
        before: Snapshot | None,
        after: Snapshot,
        publication: int,
        stamps: Container[datetime] | None,
        released: Sequence[Released] = (),
    ) -> ChangedCandles:
        """Record the candles that differ between two snapshots as the revisions of a publication.

        `stamps` are those of earlier publications; None if the writer stamps its candles in another way.
        """
        with self.report_memory():
            self._load(table, before, after)
            self.connection.execute(_DIFFERENT)
            self.connection.execute(_KEYS)
            self._load_others(table, after)
            for name, side in (("old_rows", "removed"), ("new_rows", "added")):
                self.connection.execute(_VERSIONS.format(name=name, side=side))
            written_at = None if stamps is None else self._stamp(stamps)
            self._load_released(released)
            group = max(self._timeframe.microseconds, _HOUR)
            counted = _COUNTED.format(group=group, hours=group // _HOUR)
            self.connection.execute(counted, {"written_at": written_at})
            insert_changes, insert_values = _RECORD.split(";")
            self.connection.execute(insert_changes, {"publication": publication})
            self.connection.execute(insert_values)
            counts = dict(self.connection.execute("SELECT change, count(*) FROM counted GROUP BY change").fetchall())
        inserted, updated, deleted = (counts.get(name, 0) for name in CHANGES)
        return ChangedCandles(inserted, updated, deleted, written_at)

    def _load(self, table: Table, before: Snapshot | None, after: Snapshot) -> None:
        """Load the rows of the files that differ into the tables `added` and `removed`."""
        changed = changed_files(table, before, after)
        read: dict[FileKey, pa.Table] = {}
        for name, tasks in changed._asdict().items():
            self.connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} ({_VALUE_FIELDS})")
            for task in tasks:
                key = file_key(task)
                rows = self._cached.get(key)
                if rows is None:
                    rows = _read(table, [task], AlwaysTrue())
                if name == "added" and sum(map(len, read.values())) + len(rows) <= MAX_CACHED_ROWS:
                    read[key] = rows
                self._insert(name, rows)
        self._cached = read
        self._known = {file_key(task) for tasks in changed for task in tasks}

    def _load_others(self, table: Table, after: Snapshot) -> None:
        """Load the rows of the changed keys that are in files that do not differ: keys stored several times."""
        self.connection.execute(f"CREATE OR REPLACE TEMP TABLE others ({_VALUE_FIELDS})")
        ranges = self._changed_ranges()
        if not ranges:
            return
        condition = reduce(Or, (time_condition(first, last + MICROSECOND) for first, last in ranges))
        scan = table.scan(condition, snapshot_id=after.snapshot_id)
        with report_damage(table, scan):
            tasks = [task for task in scan.plan_files() if file_key(task) not in self._known]
        for task in tasks:
            self._insert("others", _read(table, [task], condition))

    def _changed_ranges(self) -> list[tuple[datetime, datetime]]:
        """Return the first and the last changed window of each partition."""
        query = """SELECT epoch_us(min(window_start)), epoch_us(max(window_start))
            FROM keys WHERE window_start IS NOT NULL {} ORDER BY 1"""
        grouped = f"GROUP BY date_trunc('{self._timeframe.partition}', window_start)"
        rows = self.connection.execute(query.format(grouped)).fetchmany(MAX_RANGES + 1)
        if len(rows) > MAX_RANGES:
            rows = self.connection.execute(query.format("")).fetchall()
        # Without a group there is a row of nulls.
        return [(from_microseconds(first), from_microseconds(last)) for first, last in rows if first is not None]

    def _insert(self, name: str, rows: pa.Table) -> None:
        self.connection.register("file_rows", rows)
        self.connection.execute(f"INSERT INTO {name} SELECT {_SELECTED} FROM file_rows")
        self.connection.unregister("file_rows")

    def _stamp(self, stamps: Container[datetime]) -> datetime | None:
        """Return the stamp of the candles that a commit wrote, None if an earlier publication has the same."""
        query = "SELECT epoch_us(max(updated_at)) FROM different WHERE copies > 0"
        ((found,),) = self.connection.execute(query).fetchall()
        stamp = None if found is None else from_microseconds(found)
        return None if stamp in stamps else stamp

    def _load_released(self, released: Sequence[Released]) -> None:
        self.connection.execute("DELETE FROM released")
        if released:
            rows = [(*each.series.key, each.since, each.waived) for each in released]
            self.connection.executemany("INSERT INTO released VALUES (?, ?, ?, ?, ?)", rows)

    def report_memory(self) -> AbstractContextManager[None]:
        """Raise OhlcvError if the block, which uses the connection, needs too much memory."""
        return report_memory(f"comparison of {self._timeframe} candles", self._memory)


def _read(table: Table, tasks: list[FileScanTask], condition: BooleanExpression) -> pa.Table:
    """Return the rows of files, with the columns of the contract and the present types."""
    schema = table.schema().select(*_NAMES)
    with ExitStack() as stack:
        for task in tasks:
            stack.enter_context(report_damaged_file(table, task))
        return ArrowScan(table.metadata, table.io, schema, condition).to_table(tasks)
