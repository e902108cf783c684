"""Tables that maintenance compacts and from which retention deletes partitions: candle tables and the ledger's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import cast

from ohlcv.config.settings import Settings
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import parse_day
from ohlcv.model.partition_units import Unit, partition_of
from ohlcv.model.table_contracts import KEY, TableContract
from ohlcv.model.timeframes import TIMEFRAMES, Timeframe

PUBLICATIONS, REVISIONS = "publications", "revisions"
LEDGER_TABLES = (PUBLICATIONS, REVISIONS)


@dataclass(frozen=True, order=True)
class ExpiredPartition:
    """A partition that retention deletes: the timeframe of its rows, and its first day."""

    timeframe: str
    day: date


@dataclass(frozen=True)
class MaintainedTable:
    """A table with everything that its maintenance depends on."""

    # The timeframe of a candle table, or the name of a table of the ledger.
    name: str
    contract: TableContract
    # Timeframes of its rows.
    timeframes: tuple[Timeframe, ...]
    # Order of the rows in a compacted file.
    sort_order: tuple[str, ...]

    @property
    def is_ledger(self) -> bool:
        return self.name in LEDGER_TABLES

    @property
    def time_column(self) -> str:
        """Return the column whose days or months are the partitions."""
        return self.contract.partitions[-1].column

    @property
    def unit(self) -> Unit:
        return cast("Unit", self.contract.partitions[-1].transform)

    def cutoff(self, timeframe: Timeframe, as_of: date) -> date:
        """Return the first day of a timeframe that is kept. A partition is deleted when all its days have expired."""
        return partition_of(self.unit, timeframe.retention.cutoff(as_of))

    def parse_partitions(self, text: str, as_of: date) -> tuple[ExpiredPartition, ...]:
        """Return the partitions of a job's argument. Raise InputError for one that has not expired."""
        return tuple(self._parse_partition(part, as_of) for part in text.split(",") if part)

    def _parse_partition(self, text: str, as_of: date) -> ExpiredPartition:
        name, _, day_text = text.rpartition(":")
        day = parse_day(day_text)
        found = {each.name: each for each in self.timeframes}.get(name if self.is_ledger else name or self.name)
        if found is None:
            raise InputError(f"'{text}' names no timeframe of {self.name}: nothing is deleted")
        cutoff = self.cutoff(found, as_of)
        if day != partition_of(self.unit, day) or day >= cutoff:
            raise InputError(f"{day} is not a partition of {found} before the cutoff {cutoff}: nothing is deleted")
        return ExpiredPartition(found.name, day)

    def format_partition(self, partition: ExpiredPartition) -> str:
        """Return a partition as in the argument of a job: its day, in the ledger after its timeframe."""
        return f"{partition.timeframe}:{partition.day}" if self.is_ledger else str(partition.day)


def maintained_table(settings: Settings, name: str) -> MaintainedTable:
    """Return the candle table of a timeframe, or a table of the ledger."""
    if name in LEDGER_TABLES:
        every = tuple(map(settings.timeframe, TIMEFRAMES))
        if name == PUBLICATIONS:
            return MaintainedTable(name, settings.publications_contract, every, ("number",))
        return MaintainedTable(name, settings.revisions_contract, every, (*KEY, "publication"))
    timeframe = settings.timeframe(name)
    return MaintainedTable(name, settings.candles_contract(timeframe), (timeframe,), KEY)
