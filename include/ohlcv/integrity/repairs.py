"""What depends on a damaged file, and the command that repairs it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal, cast

from pyiceberg.manifest import DataFile

from ohlcv.config.maintained_tables import RECORD_TABLES, maintained_table
from ohlcv.config.settings import Settings
from ohlcv.integrity.findings import Damage, FileKind
from ohlcv.model.errors import DamagedFileError
from ohlcv.model.partition_units import Unit, next_partition, partition_start
from ohlcv.model.source_hours import hour_start, partition_hour
from ohlcv.model.table_contracts import TableContract

Role = Literal["trades", "candles", "records"]
_BACKUP = "restore the file from a backup"


@dataclass(frozen=True)
class CheckedTable:
    """A table and what its rows are."""

    contract: TableContract
    role: Role
    # Timeframe of candles, name of a record table, or trades.
    subject: str

    @property
    def name(self) -> str:
        return str(self.contract)

    def damage(
        self,
        kind: FileKind,
        error: DamagedFileError,
        *,
        is_past: bool = False,
        ref: tuple[str, str] | None = None,
        file: DataFile | None = None,
    ) -> Damage:
        """Return a damaged file with what depends on it and its repair.

        `ref` is the kind and the name of a branch or tag, if of the current states only its state needs the file.
        """
        affects, repair = self._affected(kind, file), self._repair(kind)
        if is_past:
            affects = f"earlier states only ({affects})"
            repair = f"{_BACKUP}, or wait: maintenance expires the state after seven days"
        elif ref is not None:
            ref_kind, name = ref
            affects = f"the {ref_kind} {name} only ({affects})"
            repair = f"{_BACKUP}, or run 'ohlcv sql \"ALTER TABLE {self.name} DROP {ref_kind.upper()} {name}\"'"
        return Damage(self.name, kind, error.path, error.problem, affects, repair, is_past, ref is not None)

    def missing(self) -> Damage:
        """Return that the catalog does not have the table."""
        repair = "run 'ohlcv tables create' if it is new, or 'ohlcv tables register' if the catalog lost it"
        return Damage(
            self.name, "table", self.name, "is not in the catalog", "every reader and job of the table", repair
        )

    def _affected(self, kind: FileKind, file: DataFile | None) -> str:
        if kind == "metadata file":
            return "every reader and job of the table"
        if file is None:
            return "all rows that it lists" if kind == "manifest" else "all rows of the table"
        partition = self.partition_text(file)
        rows = f"{file.record_count:,} {self.role if self.role != 'records' else 'rows'}"
        return f"{rows} of {partition}" if partition else rows

    def _repair(self, kind: FileKind) -> str:
        if not self.contract.mapping.is_default:
            return f"{_BACKUP}, or let the table's own writer replace it"
        if kind in ("metadata file", "manifest list", "manifest"):
            return f"{_BACKUP}, or run 'ohlcv tables restore {self.name}' (shows what is lost)"
        if self.role == "records":
            return f"{_BACKUP}, or start the records again (see Damaged files in docs/runbook.md)"
        return f"{_BACKUP}, or run 'ohlcv tables repair {self.name}' (shows what is dropped)"

    def partition_text(self, file: DataFile) -> str:
        """Return the days or the hour of a file, empty if it is not in such a partition."""
        span = self.span(file)
        if span is None:
            return ""
        start, end = span
        if end - start < timedelta(days=1):
            return f"{start:%Y-%m-%dT%H}Z"
        last = end - timedelta(days=1)
        return f"{start:%Y-%m-%d}" if last == start else f"{start:%Y-%m-%d} to {last:%Y-%m-%d}"

    def span(self, file: DataFile) -> tuple[datetime, datetime] | None:
        """Return the times of a file's partition, None if the partition is none of the contract's."""
        values = [file.partition[position] for position in range(len(file.partition))]
        if self.role == "trades" and self.contract.mapping.is_default and len(values) == 2:
            hour = partition_hour(*values)
            return None if hour is None else (hour_start(hour), hour_start(hour + 1))
        transform = self.contract.partitions[-1].transform if self.contract.partitions else ""
        if self.role == "trades" or transform not in ("day", "month") or not values or values[-1] is None:
            return None
        unit = cast("Unit", transform)
        first = partition_start(unit, int(values[-1]))
        return _midnight(first), _midnight(next_partition(unit, first))


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def checked_tables(settings: Settings) -> list[CheckedTable]:
    """Return all tables of the settings: trades, candles of the enabled timeframes, and records."""
    return [
        CheckedTable(settings.trades_contract, "trades", "trades"),
        *(CheckedTable(settings.candles_contract(each), "candles", name) for name, each in settings.timeframes.items()),
        *(CheckedTable(maintained_table(settings, name).contract, "records", name) for name in RECORD_TABLES),
    ]
