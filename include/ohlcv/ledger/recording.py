"""Recording: append the publications of a candle table since the checkpoint to the ledger, with what they changed.

Every publication is recorded once: revisions are committed first, publications last, so a publication exists when its
row does. What a killed task left is replaced. Recording reads only files that differ, and no candle job waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from datetime import datetime
from functools import cached_property
from itertools import chain
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression, EqualTo, GreaterThan
from pyiceberg.table import FileScanTask, Table
from pyiceberg.typedef import Record

from ohlcv.config.settings import Settings
from ohlcv.iceberg.audit_state import read_decisions
from ohlcv.iceberg.catalog_errors import described_catalog_errors
from ohlcv.iceberg.file_commits import PartitionRows, commit_files, plan, read_file, rows_of
from ohlcv.iceberg.ledger_tables import publications_in
from ohlcv.iceberg.snapshot_log import Entry, find_unavailable_reason, first_entry, unrecorded_entries
from ohlcv.iceberg.tables import load_table, load_table_to_write, open_catalog
from ohlcv.iceberg.write_lock import AssertLockHeld, write_lock
from ohlcv.ledger.causes import add_requests, create_requests, store_causes
from ohlcv.ledger.publications import JOB_TRIGGERS, NOT_COMPARED, History, deleted_partitions, publication_of
from ohlcv.ledger.reports import LedgerReport
from ohlcv.ledger.row_differences import RowDifferences
from ohlcv.model.errors import DamagedFileError
from ohlcv.model.ledger_records import Ledger, Publication
from ohlcv.model.partition_units import partition_number
from ohlcv.model.table_contracts import CANDLE_COLUMNS, TableContract
from ohlcv.model.timeframes import Timeframe
from ohlcv.readers.scans import compare
from ohlcv.readers.trades import load_trades

# A commit has about this many changes, so that memory and lost work are limited.
BATCH_CHANGES = 500_000
BATCH_PUBLICATIONS = 500
# A recording waits this long for another one.
LOCK_SECONDS = 150.0
# Rows of a data file of revisions.
FILE_ROWS = 250_000
_VALUES = [column.name for column in CANDLE_COLUMNS if column.name not in ("symbol", "exchange", "window_start")]
_MONTH = "(year(changes.window_start) - 1970) * 12 + month(changes.window_start) - 1"
_REVISIONS = f"""
SELECT $timeframe AS timeframe, publication, changes.symbol, changes.exchange, changes.window_start, change,
    {", ".join(f"old_values.{name}" for name in _VALUES)}, causes, lateness, held_since, waived
FROM changes LEFT JOIN old_values USING (id) WHERE {_MONTH} IS NOT DISTINCT FROM $month
ORDER BY changes.symbol, changes.exchange, changes.window_start, publication, old_values.updated_at
"""

# Shows the current step.
Progress = Callable[[str], None]


def record(
    settings: Settings, timeframe: Timeframe, catalog: Catalog | None = None, report_progress: Progress = lambda _: None
) -> LedgerReport:
    """Record what the ledger of a candle table lacks, and return what was recorded.

    Several calls can share an open catalog.
    """
    begin = time.monotonic()
    with (
        described_catalog_errors(settings),
        write_lock(settings, settings.revisions_contract, LOCK_SECONDS) as assert_lock_held,
    ):
        recorder = _Recorder(settings, timeframe, catalog or open_catalog(settings), assert_lock_held, report_progress)
        report = recorder.run()
    report.seconds = time.monotonic() - begin
    return report


class _Recorder:
    """The tables of a recording. They are loaded before the candles, so that a commit of another task is noticed."""

    def __init__(
        self,
        settings: Settings,
        timeframe: Timeframe,
        catalog: Catalog,
        assert_lock_held: AssertLockHeld,
        report_progress: Progress,
    ) -> None:
        self._settings = settings
        self._timeframe = timeframe
        self._catalog = catalog
        self._assert_lock_held = assert_lock_held
        self._report_progress = report_progress
        # In this order: whoever loads the revisions after another task also sees the log that the task has seen.
        self._revisions = load_table_to_write(settings, settings.revisions_contract, catalog)
        self._publications = load_table_to_write(settings, settings.publications_contract, catalog)
        self._candles = load_table(catalog, settings.candles_contract(timeframe))
        self._history = History.of(self._candles)
        self._report = LedgerReport(timeframe.name)
        self._recorded: list[Publication] = []
        self._published: set[int] = set()
        # Trades snapshot of each stamp, that of the ledger's first publication, and the newest one.
        self._stamps: dict[datetime, int | None] = {}
        self._first_trades: int | None = None
        self._newest_trades: int | None = None
        for publication in publications_in(self._publications, timeframe):
            self._append(publication)

    def _append(self, publication: Publication) -> None:
        if publication.is_base:
            self._first_trades = self._newest_trades = None
        self._recorded.append(publication)
        if publication.snapshot is not None:
            self._published.add(publication.snapshot)
        if publication.written_at is not None:
            self._stamps[publication.written_at] = publication.trades_snapshot
        if publication.trades_snapshot is not None:
            self._newest_trades = publication.trades_snapshot
            self._first_trades = self._first_trades or publication.trades_snapshot

    def run(self) -> LedgerReport:
        """Record all entries of the log, and return the report."""
        report = self._report
        report.unavailable = find_unavailable_reason(self._settings, self._candles)
        if report.unavailable is None and self._recorded:
            self._record(unrecorded_entries(self._candles, Ledger.of(self._timeframe.name, self._recorded)))
        elif report.unavailable is None:
            self._append(publication_of(first_entry(self._candles), "first", self._timeframe, 1))
            self._commit_publications(0)
        report.checkpoint = self._recorded[-1] if self._recorded else None
        return report

    def _record(self, entries: list[Entry]) -> None:
        if not entries:
            return
        committed = len(self._recorded)
        memory = self._settings.tuning[self._timeframe.name].audit_memory
        with RowDifferences(self._timeframe, memory) as differences:
            create_requests(differences.connection, self._stamps)
            for position, entry in enumerate(entries, 1):
                self._append(self._compare(entry, differences))
                self._report_progress(f"{position:,} of {len(entries):,} publications compared")
                is_full = differences.changes >= BATCH_CHANGES or len(self._recorded) - committed >= BATCH_PUBLICATIONS
                if is_full or position == len(entries):
                    self._commit(committed, differences)
                    committed = len(self._recorded)

    def _compare(self, entry: Entry, differences: RowDifferences) -> Publication:
        """Return the publication of an entry. Its changes, whose causes are not searched yet, are in the database."""
        trigger = self._history.trigger(entry, self._published)
        publication = publication_of(entry, trigger, self._timeframe, self._recorded[-1].number + 1)
        if trigger == "gap":
            self._report.gap = entry.visible_at
        if trigger == "retention":
            days = deleted_partitions(self._candles, self._timeframe, entry)
            return replace(publication, deleted_partitions=days)
        if publication.is_base or trigger in NOT_COMPARED:
            return publication
        assert entry.snapshot is not None, "an entry of the log has a snapshot"
        is_job = trigger in JOB_TRIGGERS
        try:
            changed = differences.add(
                self._candles,
                entry.before,
                entry.snapshot,
                publication.number,
                self._stamps if is_job else None,
                self._history.released(entry, self._waived) if is_job else (),
            )
        except DamagedFileError as error:
            if self._is_needed(error.path):
                raise
            # A repair has dropped the file, so nobody will restore it.
            self._report.gap = entry.visible_at
            return publication_of(entry, "gap", self._timeframe, publication.number)
        publication = replace(publication, **asdict(changed))
        if trigger != "rollback":
            add_requests(differences.connection, publication, self._first_trades, self._newest_trades)
        return publication

    def _is_needed(self, path: str) -> bool:
        """Return whether the present state of the candle table has a file, given by its path without a scheme."""
        return any(path in task.file.file_path for task in plan(self._candles, AlwaysTrue()))

    @cached_property
    def _waived(self) -> set[tuple[str, str, int]]:
        """Return the keys of all waivers."""
        return {waiver.key for waiver in read_decisions(self._candles).waivers}

    def _commit(self, committed: int, differences: RowDifferences) -> None:
        """Commit the changes and then the publications after the first `committed` ones."""
        contract = self._settings.trades_contract
        with differences.report_memory():
            store_causes(differences.connection, self._timeframe, lambda: load_trades(self._catalog, contract))
            self._commit_revisions(self._recorded[committed - 1].number, differences.connection)
            self._commit_publications(committed)
            self._count(differences.connection)
            differences.clear()

    def _commit_revisions(self, checkpoint: int, connection: duckdb.DuckDBPyConnection) -> None:
        """Commit the changes. Rows of later publications than the checkpoint are left from a killed task."""
        later = And(self._is_timeframe, compare(GreaterThan, "publication", checkpoint))
        tasks = plan(self._revisions, later)
        months = [month for (month,) in connection.execute(f"SELECT DISTINCT {_MONTH} FROM changes").fetchall()]
        if not tasks and not months:
            return
        self._report_progress("writing revisions")
        kept = ((task.file.partition, self._rows_until(checkpoint, task)) for task in tasks)
        self._revisions = self._commit_files(
            self._revisions,
            self._settings.revisions_contract,
            chain((each for each in kept if len(each[1])), self._new_revisions(connection, months)),
            tasks,
        )

    def _rows_until(self, checkpoint: int, task: FileScanTask) -> pa.Table:
        rows = read_file(self._revisions, task)
        return rows.filter(pc.less_equal(rows["publication"], checkpoint))

    def _new_revisions(
        self, connection: duckdb.DuckDBPyConnection, months: Iterable[int | None]
    ) -> Iterator[PartitionRows]:
        for month in sorted(months, key=lambda each: each or 0):
            partition = Record(self._timeframe.name, month)
            rows = connection.sql(_REVISIONS, params={"timeframe": self._timeframe.name, "month": month})
            for batch in rows.to_arrow_reader(FILE_ROWS):
                yield partition, pa.Table.from_batches([batch])

    def _commit_publications(self, committed: int) -> None:
        """Commit the publications after the first `committed` ones. The rows of a month stay in one file."""
        rows: dict[int, list[dict[str, Any]]] = {_month_of(each): [] for each in self._recorded[committed:]}
        for publication in self._recorded:
            if (month := _month_of(publication)) in rows:
                rows[month].append(_row(publication))
        self._publications = self._commit_files(
            self._publications,
            self._settings.publications_contract,
            (
                (Record(self._timeframe.name, month), rows_of(self._publications, values))
                for month, values in rows.items()
            ),
            [task for task in plan(self._publications, self._is_timeframe) if task.file.partition[1] in rows],
        )
        self._report.publications += len(self._recorded) - committed

    def _commit_files(
        self, table: Table, contract: TableContract, added: Iterable[PartitionRows], removed: list[FileScanTask]
    ) -> Table:
        files = [task.file for task in removed]
        return commit_files(self._catalog, contract, table, added, files, self._assert_lock_held)

    @property
    def _is_timeframe(self) -> BooleanExpression:
        return compare(EqualTo, "timeframe", self._timeframe.name)

    def _count(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Count the recorded changes in the report."""
        for name, totals in (("change", self._report.revisions), ("unnest(causes)", self._report.causes)):
            query = f"SELECT {name} AS name, count(*) FROM changes GROUP BY name ORDER BY name"
            for value, count in connection.execute(query).fetchall():
                totals[value] = totals.get(value, 0) + count


def _row(publication: Publication) -> dict[str, Any]:
    return {**asdict(publication), "deleted_partitions": [str(day) for day in publication.deleted_partitions]}


def _month_of(publication: Publication) -> int:
    return partition_number("month", publication.visible_at.date())
