"""Recording: count the deliveries of the hours whose trade files changed since the checkpoint, in one commit or none.

The facts, the checkpoint and the pending hours are in the same commit. So a task that was killed has changed nothing,
and of two tasks at the same time one fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime

import duckdb
import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import AlwaysFalse, And, BooleanExpression, GreaterThanOrEqual, LessThan
from pyiceberg.table import FileScanTask
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.typedef import Record

from ohlcv.config.settings import Settings
from ohlcv.coverage.counting import count_hours, counting_database, hours_of_rows
from ohlcv.coverage.report import CoverageReport
from ohlcv.coverage.trade_files import HourFiles, find_hours, plan_files
from ohlcv.iceberg.catalog_errors import described_catalog_errors
from ohlcv.iceberg.changed_files import changed_files
from ohlcv.iceberg.damage import report_damage
from ohlcv.iceberg.file_commits import PartitionRows, commit_files, plan, read_file
from ohlcv.iceberg.snapshot_summary import main_snapshots
from ohlcv.iceberg.tables import load_table_to_write, open_catalog
from ohlcv.iceberg.write_lock import AssertLockHeld, write_lock
from ohlcv.model import summary_keys
from ohlcv.model.coverage_columns import COVERAGE_COLUMNS, REJECTED_COLUMNS
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import HOUR, floor_time, iso
from ohlcv.model.source_hours import HOURS_PER_DAY, format_hours, hour_number, hour_range
from ohlcv.readers.coverage import pending_hours
from ohlcv.readers.scans import compare
from ohlcv.readers.trades import load_trades, table_with_snapshot

# A recording counts at most about this many trades, so that a backlog does not delay the current hour for long.
MAX_TRADES = 20_000_000
# And it reads the stored rows of its days, at most about this many: hours without trades have rows, too.
MAX_ROWS = 500_000
# Trades that are counted at a time. An hour with more is counted alone.
CHUNK_TRADES = 1_000_000
# A recording waits this long for another one.
LOCK_SECONDS = 150.0

_FACTS = [column.name for column in COVERAGE_COLUMNS if column.name != "trades_snapshot"]
_COLUMNS = ", ".join(column.name for column in COVERAGE_COLUMNS)
_SAME = " AND ".join(f"stored.{name} IS NOT DISTINCT FROM counted.{name}" for name in _FACTS)
_DAY = "date_diff('day', DATE '1970-01-01', CAST(hour AS DATE))"
# Hours without deliveries keep their rows. A row with the same facts keeps its snapshot.
_NEW_ROWS = f"""
CREATE TEMP TABLE new_rows AS
SELECT {_COLUMNS} FROM stored WHERE hour NOT IN (SELECT hour FROM chosen)
UNION ALL
SELECT {_COLUMNS} FROM (
    SELECT counted.* REPLACE (coalesce(stored.trades_snapshot, $snapshot) AS trades_snapshot)
    FROM counted LEFT JOIN stored ON {_SAME}
)
UNION ALL
SELECT {_COLUMNS} FROM (
    SELECT * REPLACE (true AS source_expired) FROM stored
    WHERE hour IN (SELECT hour FROM chosen) AND hour NOT IN (SELECT hour FROM counted)
)
"""
_CHANGED_DAYS = f"""
SELECT DISTINCT {_DAY} AS day FROM (
    (SELECT {_COLUMNS} FROM stored EXCEPT ALL SELECT {_COLUMNS} FROM new_rows)
    UNION ALL (SELECT {_COLUMNS} FROM new_rows EXCEPT ALL SELECT {_COLUMNS} FROM stored)
) ORDER BY day
"""
_REJECTED = " + ".join(REJECTED_COLUMNS)
_TOTALS = f"""
SELECT count(DISTINCT (exchange, symbol)), coalesce(sum(deliveries), 0), coalesce(sum(accepted), 0),
    coalesce(sum(duplicates), 0), coalesce(sum(superseded), 0), coalesce(sum({_REJECTED}), 0) FROM counted
"""

# Shows the current step.
Progress = Callable[[str], None]


def record_coverage(
    settings: Settings,
    now: datetime,
    catalog: Catalog | None = None,
    report_progress: Progress = lambda _: None,
    max_trades: int = MAX_TRADES,
    max_rows: int = MAX_ROWS,
) -> CoverageReport:
    """Count the hours whose trades changed, and those that are pending, and return what was counted."""
    begin = time.monotonic()
    with (
        described_catalog_errors(settings),
        write_lock(settings, settings.coverage_contract, LOCK_SECONDS) as assert_lock_held,
    ):
        recorder = _Recorder(settings, now, catalog or open_catalog(settings), assert_lock_held, report_progress)
        report = recorder.run(max_trades, max_rows)
    report.seconds = time.monotonic() - begin
    return report


class _Recorder:
    """The tables of a recording. The coverage is loaded first, so that a commit of another task is noticed."""

    def __init__(
        self,
        settings: Settings,
        now: datetime,
        catalog: Catalog,
        assert_lock_held: AssertLockHeld,
        report_progress: Progress,
    ) -> None:
        self._settings = settings
        self._now = now
        self._catalog = catalog
        self._assert_lock_held = assert_lock_held
        self._report_progress = report_progress
        self._coverage = load_table_to_write(settings, settings.coverage_contract, catalog)
        self._trades = load_trades(catalog, settings.trades_contract)
        self._snapshot = self._trades.table.current_snapshot()
        self._report = CoverageReport(None if self._snapshot is None else self._snapshot.snapshot_id)

    def run(self, max_trades: int, max_rows: int = MAX_ROWS) -> CoverageReport:
        """Count and commit, and return the report."""
        waiting = sorted(self._changed_hours() | pending_hours(self._coverage))
        # An hour that has not begun has no trades that it can be compared with.
        begun = [hour for hour in waiting if hour <= hour_number(self._now)]
        files = {} if self._snapshot is None else plan_files(self._trades, self._snapshot.snapshot_id, begun)
        stored = self._stored_files(begun)
        hours = _newest_within(begun, files, stored, max_trades, max_rows)
        days = {hour // HOURS_PER_DAY for hour in hours}
        with counting_database() as connection:
            self._count(connection, hours, files)
            self._commit(connection, hours, [task for day in days for task in stored[day]], set(waiting) - set(hours))
        self._report.hours = len(hours)
        self._report.pending_hours = len(begun) - len(hours)
        return self._report

    def _changed_hours(self) -> set[int]:
        """Return the hours whose files changed since the checkpoint, or else all hours that are or were known."""
        properties = self._coverage.properties
        checkpoint = properties.get(summary_keys.COVERAGE_TRADES)
        if checkpoint is None:
            self._report.full = "nothing has been recorded before"
            return self._all_hours()
        if self._is_rolled_back():
            self._report.full = "the coverage table was rolled back"
            return self._all_hours()
        hours = None if self._snapshot is None else self._hours_since(int(checkpoint), self._snapshot)
        if hours is None:
            self._report.full = f"the trades snapshot {checkpoint} of the last recording has expired"
            return self._all_hours()
        return hours

    def _is_rolled_back(self) -> bool:
        """Return whether the table no longer has the rows to which its properties belong."""
        recorded = self._coverage.properties.get(summary_keys.COVERAGE_SNAPSHOT)
        # One that has expired was an ancestor: a recording runs before a snapshot that a rollback left expires.
        if recorded is None or self._coverage.snapshot_by_id(int(recorded)) is None:
            return False
        return all(snapshot.snapshot_id != int(recorded) for snapshot in main_snapshots(self._coverage))

    def _hours_since(self, checkpoint: int, snapshot: Snapshot) -> set[int] | None:
        """Return the hours whose files differ between two trades snapshots, None if the first one has expired."""
        if before := self._trades.table.snapshot_by_id(checkpoint):
            return self._hours_between(before, snapshot)
        if self._settings.catalog.has_lock:
            return None
        # A catalog that returns only the newest snapshot still has the metadata and the files of older ones.
        metadata = self._coverage.properties.get(summary_keys.COVERAGE_METADATA, "")
        table = table_with_snapshot(self._trades.table, checkpoint, metadata)
        with suppress(OhlcvError, OSError):
            if table is not None and (before := table.snapshot_by_id(checkpoint)):
                return self._hours_between(before, snapshot)
        return None

    def _hours_between(self, before: Snapshot, after: Snapshot) -> set[int]:
        changed = changed_files(self._trades.table, before, after)
        return self._hours_of(changed.added + changed.removed)

    def _all_hours(self) -> set[int]:
        """Return the hours that have files, or rows in the coverage."""
        scan = self._coverage.scan(selected_fields=("hour",))
        with report_damage(self._coverage, scan):
            batches = scan.to_arrow_batch_reader()
            hours = {hour_number(each) for batch in batches for each in batch["hour"].unique().to_pylist()}
        if self._snapshot is not None:
            files = self._trades.table.scan(snapshot_id=self._snapshot.snapshot_id)
            with report_damage(self._trades.table, files):
                tasks = list(files.plan_files())
            hours |= self._hours_of(tasks)
        return hours

    def _hours_of(self, tasks: Iterable[FileScanTask]) -> set[int]:
        found: set[int] = set()
        for task in tasks:
            hours = find_hours(self._trades, task)
            found.update(hours_of_rows(self._trades, task) if hours is None else hours)
        return found

    def _stored_files(self, hours: list[int]) -> dict[int, list[FileScanTask]]:
        """Return the files of the coverage by the days of some hours."""
        found: dict[int, list[FileScanTask]] = {hour // HOURS_PER_DAY: [] for hour in hours}
        for task in plan(self._coverage, _in_days(sorted(found))):
            if task.file.partition[0] in found:
                found[task.file.partition[0]].append(task)
        return found

    def _count(self, connection: duckdb.DuckDBPyConnection, hours: list[int], files: dict[int, HourFiles]) -> None:
        done = 0
        for chunk in _groups(hours, files, CHUNK_TRADES):
            tasks = {task.file.file_path: task for hour in chunk if hour in files for task in files[hour].tasks}
            if tasks:
                count_hours(connection, self._trades, chunk, list(tasks.values()))
            done += len(chunk)
            self._report_progress(f"{done:,} of {len(hours):,} hours counted")
        report = self._report
        (
            (report.series, report.deliveries, report.accepted, report.duplicates, report.superseded, report.rejected),
        ) = connection.execute(_TOTALS).fetchall()

    def _commit(
        self, connection: duckdb.DuckDBPyConnection, hours: list[int], stored: list[FileScanTask], pending: set[int]
    ) -> None:
        """Commit the rows of the changed days, the checkpoint and the pending hours, unless they are stored."""
        changed = self._changed_days(connection, hours, stored)
        properties = self._properties(pending)
        if not changed and all(self._coverage.properties.get(name) == value for name, value in properties.items()):
            return
        commit_files(
            self._catalog,
            self._settings.coverage_contract,
            self._coverage,
            self._rows_of_days(connection, changed),
            [task.file for task in stored if task.file.partition[0] in changed],
            self._assert_lock_held,
            properties,
            summary_keys.COVERAGE_SNAPSHOT,
        )

    def _properties(self, pending: set[int]) -> dict[str, str]:
        self._report.until = floor_time(self._now, HOUR)
        properties = {
            summary_keys.COVERAGE_PENDING: format_hours(pending),
            summary_keys.COVERAGE_UNTIL: iso(self._report.until),
        }
        if self._snapshot is not None:
            properties[summary_keys.COVERAGE_TRADES] = str(self._snapshot.snapshot_id)
            properties[summary_keys.COVERAGE_METADATA] = self._trades.table.metadata_location
        if self._is_rolled_back() and (current := self._coverage.current_snapshot()):
            # Unless the commit makes a new snapshot.
            properties[summary_keys.COVERAGE_SNAPSHOT] = str(current.snapshot_id)
        return properties

    def _changed_days(
        self, connection: duckdb.DuckDBPyConnection, hours: list[int], stored: list[FileScanTask]
    ) -> list[int]:
        """Create the table of the rows that the days of the hours then have, and return the days that change."""
        rows = [read_file(self._coverage, task).select([column.name for column in COVERAGE_COLUMNS]) for task in stored]
        empty = self._coverage.schema().as_arrow().empty_table().select([column.name for column in COVERAGE_COLUMNS])
        connection.register("stored_rows", pa.concat_tables([empty, *rows], promote_options="permissive"))
        connection.execute("CREATE TEMP TABLE stored AS FROM stored_rows")
        connection.unregister("stored_rows")
        times = pa.array([hour_range(hour).start for hour in hours], pa.timestamp("us", "UTC"))
        connection.register("chosen_hours", pa.table({"hour": times}))
        connection.execute("CREATE TEMP TABLE chosen AS FROM chosen_hours")
        connection.unregister("chosen_hours")
        connection.execute(_NEW_ROWS, {"snapshot": self._report.trades_snapshot})
        self._report.expired_hours = connection.execute(
            "SELECT count(DISTINCT hour) FROM new_rows WHERE source_expired AND hour IN (FROM chosen)"
        ).fetchall()[0][0]
        return [day for (day,) in connection.execute(_CHANGED_DAYS).fetchall()]

    def _rows_of_days(self, connection: duckdb.DuckDBPyConnection, days: list[int]) -> Iterator[PartitionRows]:
        for day in days:
            query = f"SELECT * FROM new_rows WHERE {_DAY} = $day ORDER BY exchange, symbol, hour"
            rows = connection.sql(query, params={"day": day}).to_arrow_table()
            yield Record(day), rows


def _newest_within(
    hours: list[int],
    files: dict[int, HourFiles],
    stored: dict[int, list[FileScanTask]],
    max_trades: int,
    max_rows: int,
) -> list[int]:
    """Return the newest hours, at least one: of at most max_trades, and of days with at most max_rows stored rows."""
    rows = 0
    days: set[int] = set()
    for day in sorted(stored, reverse=True):
        rows += sum(task.file.record_count for task in stored[day])
        if days and rows > max_rows:
            break
        days.add(day)
    newest = sorted((hour for hour in hours if hour // HOURS_PER_DAY in days), reverse=True)
    return next(_groups(newest, files, max_trades), [])


def _groups(hours: list[int], files: dict[int, HourFiles], max_trades: int) -> Iterator[list[int]]:
    """Yield the hours in groups of at most max_trades trades, but at least one hour."""
    group: list[int] = []
    trades = 0.0
    for hour in hours:
        size = files[hour].trades if hour in files else 0.0
        if group and trades + size > max_trades:
            yield group
            group, trades = [], 0.0
        group.append(hour)
        trades += size
    if group:
        yield group


def _in_days(days: list[int]) -> BooleanExpression:
    """Return the row filter from the first to the last of the days."""
    if not days:
        return AlwaysFalse()
    first, last = hour_range(days[0] * HOURS_PER_DAY), hour_range(days[-1] * HOURS_PER_DAY + HOURS_PER_DAY - 1)
    return And(compare(GreaterThanOrEqual, "hour", first.start), compare(LessThan, "hour", last.end))
