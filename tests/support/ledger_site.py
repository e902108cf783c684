"""Candle tables with a history, written without Spark, and what the ledger recorded of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import parquet_files_to_data_files
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Summary

from ohlcv.config.settings import Settings
from ohlcv.iceberg.file_commits import commit_files
from ohlcv.iceberg.ledger_tables import read_publications
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.ledger.recording import record
from ohlcv.ledger.reports import LedgerReport
from ohlcv.model import summary_keys
from ohlcv.model.ledger_records import Publication
from ohlcv.model.source_checkpoint import SourceCheckpoint
from ohlcv.model.timeframes import Timeframe
from support.audited_tables import built
from support.candidates import stage
from support.candle_rows import MINUTE, Row, at
from support.commit_times import commits_at

STAMP = at("2026-03-01T13:00:00")


def candle(price: int) -> Row:
    """Return the candle of noon with a price."""
    return built(MINUTE, "2026-03-01T12:00", str(price))


class LedgerSite:
    """A candle table with a history of commits like those of the jobs, and its ledger."""

    def __init__(self, settings: Settings, timeframe: Timeframe = MINUTE) -> None:
        self.settings = settings
        self.timeframe = timeframe
        self.catalog = open_catalog(settings)
        self._stamps = (STAMP + number * timedelta(minutes=5) for number in itertools.count())
        # Time of the next commits, by default the present.
        self.time: datetime | None = None
        # The stored rows as of the newest commit.
        self.rows: list[Row] = []

    def table(self) -> Table:
        return load_table(self.catalog, self.settings.candles_contract(self.timeframe))

    def build(
        self,
        *candles: Row,
        delete: Iterable[Row] = (),
        trades: int | None = None,
        stamp: datetime | None = None,
        run_id: str = "scheduled__1",
        dag_id: str = "ohlcv_1m",
        checkpoint: SourceCheckpoint | None = None,
    ) -> int:
        """Insert, replace and delete candles as a job does: one commit, one stamp. Return its snapshot."""
        stamp = stamp or next(self._stamps)
        stored = {key(row): row for row in self.rows}
        for row in delete:
            del stored[key(row)]
        for row in candles:
            old = stored.get(key(row))
            stored[key(row)] = row | {"created_at": old["created_at"] if old else stamp, "updated_at": stamp}
        summary = {
            summary_keys.TIMEFRAME: self.timeframe.name,
            summary_keys.DAG_ID: dag_id,
            summary_keys.RUN_ID: run_id,
            summary_keys.TRADES_SNAPSHOT: str(trades or ""),
            summary_keys.CHECKPOINT: (checkpoint or SourceCheckpoint()).to_text(),
        }
        return self.replace(stored.values(), summary)

    def replace(
        self, rows: Iterable[Row], summary: Mapping[str, str] = {}, operation: Operation = Operation.OVERWRITE
    ) -> int:
        """Replace the files of all partitions whose rows differ, in one commit."""
        new = list(rows)
        days = {row["window_date"] for row in (*self.rows, *new)}
        changed = {
            day
            for day in days
            if operation == Operation.REPLACE
            or [r for r in self.rows if r["window_date"] == day] != [r for r in new if r["window_date"] == day]
        }
        self.rows = new
        return self.commit([row for row in new if row["window_date"] in changed], summary, operation, changed)

    def commit(
        self, rows: Iterable[Row], summary: Mapping[str, str], operation: Operation, replaced: Iterable[Any] = ()
    ) -> int:
        """Add rows, one file per day, and remove the files of some days."""
        table = self.table()
        schema = table.schema().as_arrow()
        files = []
        for _, group in itertools.groupby(
            sorted(rows, key=lambda each: each["window_date"]), lambda r: r["window_date"]
        ):
            file = self.settings.home / f"candles-{uuid4()}.parquet"
            pq.write_table(pa.Table.from_pylist(list(group), schema=schema), file)
            files.append(file.as_uri())
        days = {self.timeframe.partition_number(day) for day in replaced}
        with (
            commits_at(lambda: self.time or datetime.now(UTC)),
            table.transaction() as transaction,
            transaction.update_snapshot(snapshot_properties=dict(summary)).overwrite() as update,
        ):
            _name_operation(update, operation)
            for task in table.scan().plan_files():
                if task.file.partition[0] in days:
                    update.delete_data_file(task.file)
            for data_file in parquet_files_to_data_files(table.io, table.metadata, iter(files)):
                update.append_data_file(data_file)
        snapshot = table.current_snapshot()
        assert snapshot is not None
        return snapshot.snapshot_id

    def roll_back(self, snapshot: int) -> None:
        """Move main to another snapshot, as the runbook says."""
        table = self.table()
        with commits_at(lambda: self.time or datetime.now(UTC)):
            table.manage_snapshots().set_current_snapshot(snapshot_id=snapshot).commit()
        self.rows = self.table().scan().to_arrow().to_pylist()

    def stage(self, summary: dict[str, str]) -> int:
        """Write a snapshot that is not published."""
        return stage(self.table(), summary)

    def compact_on_a_branch(self, snapshot: int) -> int:
        """Compact an older snapshot without publishing the result, and return the new snapshot."""
        table = self.table()
        table.manage_snapshots().create_branch(snapshot, "old").commit()
        with (
            table.transaction() as transaction,
            transaction.update_snapshot(branch="old").overwrite() as update,
        ):
            _name_operation(update, Operation.REPLACE)
        return table.refresh().refs()["old"].snapshot_id

    def compact_revisions(self) -> None:
        """Merge the files of the table of revisions."""
        table = self.revisions_table()
        tasks = list(table.scan().plan_files())
        rows = table.scan().to_arrow()
        commit_files(
            self.catalog,
            self.settings.revisions_contract,
            table,
            [(tasks[0].file.partition, rows)],
            [task.file for task in tasks],
            lambda: None,
        )

    def ledger_files(self) -> set[str]:
        """Return all files of the ledger's tables."""
        folders = (Path(urlsplit(each.location()).path) for each in (self.revisions_table(), self.publications_table()))
        return {str(path) for folder in folders for path in folder.rglob("*") if path.is_file()}

    def record(self) -> LedgerReport:
        return record(self.settings, self.timeframe, self.catalog)

    def publications(self) -> list[Publication]:
        return read_publications(self.settings, self.catalog, self.timeframe)

    def revisions_table(self) -> Table:
        return load_table(self.catalog, self.settings.revisions_contract)

    def publications_table(self) -> Table:
        return load_table(self.catalog, self.settings.publications_contract)

    def revisions(self) -> list[Row]:
        """Return the rows of the table of revisions by publication and key."""
        rows = self.revisions_table().scan(f"timeframe = '{self.timeframe}'").to_arrow().to_pylist()
        return sorted(rows, key=lambda row: (row["publication"], str(key(row)), str(row["updated_at"])))

    def changes(self) -> list[tuple[int, str, str, Any]]:
        """Return publication, change, window and old close price of each revision."""
        return [
            (row["publication"], row["change"], row["window_start"].strftime("%H:%M"), row["close_price"])
            for row in self.revisions()
        ]


def key(row: Row) -> tuple[Any, ...]:
    return row["symbol"], row["exchange"], row["window_start"]


def _name_operation(update: Any, operation: Operation) -> None:
    """Make a commit name another operation in its summary: pyiceberg itself does not compact."""
    summarize = update._summary

    def summary(properties: dict[str, str]) -> Summary:
        return Summary(operation, **summarize(properties).additional_properties)

    update._summary = summary
