"""Retention plans: the expired partitions of candle tables and record tables, from metadata only.

Nothing is deleted here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from pyiceberg.table import Table

from ohlcv.config.maintained_tables import (
    PUBLICATIONS,
    RECORD_TABLES,
    ExpiredPartition,
    MaintainedTable,
    maintained_table,
)
from ohlcv.config.settings import Settings
from ohlcv.iceberg.damage import report_damage
from ohlcv.iceberg.tables import existing_tables, load_table, load_table_to_write, open_catalog
from ohlcv.model.errors import InputError
from ohlcv.model.partition_units import partition_start
from ohlcv.model.table_contracts import TableContract, missing_table_problem
from ohlcv.model.timeframes import DEFAULT_MAX_SHARE, Timeframe


@dataclass(frozen=True)
class Partition:
    """A partition (day or month) of a table, identified by its first day."""

    day: date
    rows: int
    files: int
    size: int


@dataclass(frozen=True)
class RetentionPlan:
    """The partitions of one table to which a timeframe's retention applies that are to be deleted, and the reason."""

    table: MaintainedTable
    timeframe: str
    as_of: date
    retention: str
    # First day that is kept.
    cutoff: date
    expired: tuple[Partition, ...]
    # Totals of all partitions of the timeframe.
    total_rows: int
    oldest: date | None
    newest: date | None

    @property
    def rows(self) -> int:
        return sum(partition.rows for partition in self.expired)

    @property
    def files(self) -> int:
        return sum(partition.files for partition in self.expired)

    @property
    def size(self) -> int:
        return sum(partition.size for partition in self.expired)

    @property
    def share(self) -> float:
        return self.rows / self.total_rows if self.total_rows else 0.0

    @property
    def subject(self) -> str:
        """Return the timeframe of a candle table, or the name of a record table, after the timeframe of the rows."""
        if not self.table.is_record:
            return self.timeframe
        return f"{self.timeframe} {self.table.name}" if self.table.has_timeframes else self.table.name

    @property
    def days(self) -> list[str]:
        """Return the partitions as the maintenance job reads them."""
        return [
            self.table.format_partition(ExpiredPartition(self.timeframe, partition.day)) for partition in self.expired
        ]

    @property
    def reason(self) -> str:
        return f"retention {self.retention} as of {self.as_of}: kept from {self.cutoff} on"

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values. The maintenance job deletes the partitions in `days`."""
        return {
            "table": self.table.contract.name,
            "timeframe": self.timeframe,
            "subject": self.subject,
            "as_of": self.as_of.isoformat(),
            "cutoff": self.cutoff.isoformat(),
            "reason": self.reason,
            "partitions": len(self.expired),
            "rows": self.rows,
            "files": self.files,
            "bytes": self.size,
            "share": round(self.share, 6),
            "oldest": self.expired[0].day.isoformat() if self.expired else None,
            "newest": self.expired[-1].day.isoformat() if self.expired else None,
            "days": self.days,
        }


def plan_retention(
    settings: Settings, timeframe: Timeframe, as_of: date, today: date, max_share: float = DEFAULT_MAX_SHARE
) -> RetentionPlan:
    """Return the partitions that have expired as of a day. Raise InputError for a plan that is probably a mistake."""
    check_as_of(as_of, today)
    check_max_share(max_share)
    maintained = maintained_table(settings, timeframe.name)
    [plan] = find_expired(load_table_to_write(settings, maintained.contract), maintained, as_of)
    _check_plan(plan, maintained.contract, max_share)
    return plan


@dataclass(frozen=True)
class RecordTables:
    """The record tables that exist, and one line about those that do not."""

    names: tuple[str, ...]
    missing: str | None

    @classmethod
    def find(cls, settings: Settings) -> RecordTables:
        """Return the record tables of the catalog. One of an earlier version lacks some until they are created."""
        known = existing_tables(open_catalog(settings), settings.names)
        tables = [maintained_table(settings, name) for name in RECORD_TABLES]
        missing = [table for table in tables if table.contract.identifier not in known]
        names = tuple(table.name for table in tables if table not in missing)
        if not missing:
            return cls(names, None)
        problem = missing_table_problem(missing[0].contract)
        return cls(names, f"{', '.join(table.name for table in missing)}: {problem}")


def plan_record_retention(
    settings: Settings, tables: Iterable[str], names: Collection[str], as_of: date, today: date
) -> list[RetentionPlan]:
    """Return the partitions of record tables that have expired as of a day, with the retention of these timeframes.

    Records are retained as long as their candles, so they are deleted after them. There is no limit of their own,
    because most revisions of a timeframe can be in one month. Raise InputError for a day before 1970 or in the future.
    """
    check_as_of(as_of, today)
    plans = []
    for table in (maintained_table(settings, name) for name in tables):
        if table.timeframes:
            plans += find_expired(load_table_to_write(settings, table.contract), table, as_of)
    return [plan for plan in plans if plan.timeframe in names]


def has_expired_candles(settings: Settings, timeframe: Timeframe, as_of: date) -> bool:
    """Return whether a candle table still has partitions that have expired as of a day."""
    maintained = maintained_table(settings, timeframe.name)
    [plan] = find_expired(load_table(open_catalog(settings), maintained.contract), maintained, as_of)
    return bool(plan.expired)


def find_expired(table: Table, maintained: MaintainedTable, as_of: date) -> list[RetentionPlan]:
    """Return the partitions of a table that have expired as of a day, for each of its timeframes."""
    found = _partitions(table, maintained)
    return [
        _plan(maintained, each, found.get(each.name if maintained.has_timeframes else "", {}).values(), as_of)
        for each in maintained.timeframes
    ]


def _plan(maintained: MaintainedTable, timeframe: Timeframe, found: Iterable[Partition], as_of: date) -> RetentionPlan:
    partitions = sorted(found, key=lambda partition: partition.day)
    cutoff = maintained.cutoff(timeframe, as_of)
    if maintained.name == PUBLICATIONS and partitions:
        # The newest publication is the checkpoint: without it the ledger would begin again.
        cutoff = min(cutoff, partitions[-1].day)
    return RetentionPlan(
        maintained,
        timeframe.name,
        as_of,
        str(timeframe.retention),
        cutoff,
        tuple(partition for partition in partitions if partition.day < cutoff),
        sum(partition.rows for partition in partitions),
        partitions[0].day if partitions else None,
        partitions[-1].day if partitions else None,
    )


def check_as_of(as_of: date, today: date) -> None:
    """Raise InputError if the day is before 1970 or in the future.

    As of a day in the future, candles within retention today would count as expired.
    """
    if as_of.year < 1970:
        raise InputError(f"as-of {as_of} is before 1970: give today ({today}) or a day before")
    if as_of > today:
        raise InputError(f"as-of {as_of} is in the future: give today ({today}) or a day before")


def check_max_share(max_share: float) -> None:
    """Raise InputError if it is no share. NaN passes the check of Airflow's form."""
    if not 0 < max_share <= 1:
        raise InputError(f"max-share is {max_share:g}: give a share above 0 and up to 1")


def _check_plan(plan: RetentionPlan, contract: TableContract, max_share: float) -> None:
    if plan.newest is not None and plan.newest < plan.cutoff:
        raise InputError(
            f"{contract}: the newest candles ({plan.newest}) have expired ({plan.reason}), so no candle would be left: "
            "nothing is deleted; check the feed, or correct as-of"
        )
    if plan.share > max_share:
        raise InputError(
            f"{contract}: {plan.rows:,} of {plan.total_rows:,} candles ({plan.share:.1%}) would be deleted, "
            f"more than {max_share:.0%}: nothing is deleted; to delete them, set max-share to "
            f"{min(1.0, plan.share + 0.01):.2f}"
        )


def _partitions(table: Table, maintained: MaintainedTable) -> Mapping[str, Mapping[date, Partition]]:
    """Return the partitions of a table by the timeframe of their rows, if they have one, then by their first day."""
    found: dict[str, dict[date, Partition]] = {}
    scan = table.scan()
    with report_damage(table, scan):
        tasks = list(scan.plan_files())
    for task in tasks:
        values = task.file.partition
        number = values[len(values) - 1]
        if number is None:
            continue  # a candle of another writer, without its date: it never expires
        days = found.setdefault(values[0] if maintained.has_timeframes else "", {})
        day = partition_start(maintained.unit, int(number))
        before = days.get(day, Partition(day, 0, 0, 0))
        days[day] = Partition(
            day, before.rows + task.file.record_count, before.files + 1, before.size + task.file.file_size_in_bytes
        )
    return found


@dataclass(frozen=True)
class TableSize:
    """Size of a table: rows, files, bytes and metadata."""

    rows: int
    files: int
    size: int
    # Also those that are not published: they take space too.
    snapshots: int
    manifests: int
    # Size of the current metadata file, which every run reads.
    metadata_size: int

    def to_json(self) -> dict[str, int]:
        return {
            "rows": self.rows,
            "files": self.files,
            "bytes": self.size,
            "snapshots": self.snapshots,
            "manifests": self.manifests,
            "metadata_bytes": self.metadata_size,
        }


def measure_table(settings: Settings, contract: TableContract) -> TableSize:
    """Return the size of a table, from its metadata."""
    table = load_table(open_catalog(settings), contract)
    snapshot = table.current_snapshot()
    summary = snapshot.summary.additional_properties if snapshot and snapshot.summary else {}
    rows, files, size = (int(summary.get(f"total-{key}", 0)) for key in ("records", "data-files", "files-size"))
    return TableSize(
        rows,
        files,
        size,
        len(table.snapshots()),
        len(snapshot.manifests(table.io)) if snapshot else 0,
        len(table.io.new_input(table.metadata_location)),
    )
