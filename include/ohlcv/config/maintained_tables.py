"""Tables that maintenance compacts and from which retention deletes partitions: candle tables and record tables.

Record tables are those of the ledger, of coverage and of reconciliation: they record what became of trades and candles.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import cast

from ohlcv.config.settings import Settings
from ohlcv.model.coverage_columns import COVERAGE_KEY, RECONCILIATION_KEY
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import parse_day
from ohlcv.model.partition_units import Unit, partition_of
from ohlcv.model.table_contracts import KEY, TableContract
from ohlcv.model.timeframes import Timeframe

PUBLICATIONS, REVISIONS = "publications", "revisions"
COVERAGE, COVERAGE_NOTES, RECONCILIATION = "coverage", "coverage_notes", "reconciliation"
RECORD_TABLES = (PUBLICATIONS, REVISIONS, COVERAGE, COVERAGE_NOTES, RECONCILIATION)
# A day on which retention periods are compared, to name the longest.
_ANY_DAY = date(2026, 1, 1)


@dataclass(frozen=True, order=True)
class ExpiredPartition:
    """A partition that retention deletes: the timeframe whose retention applies, and its first day."""

    timeframe: str
    day: date


@dataclass(frozen=True)
class MaintainedTable:
    """A table with everything that its maintenance depends on."""

    # The timeframe of a candle table, or the name of a record table.
    name: str
    contract: TableContract
    # Timeframes whose retention applies to its rows. None: nothing of it expires.
    timeframes: tuple[Timeframe, ...]
    # Order of the rows in a compacted file.
    sort_order: tuple[str, ...]
    # Further timeframes whose candles must have expired, too.
    explained: tuple[Timeframe, ...] = ()

    @property
    def is_record(self) -> bool:
        return self.name in RECORD_TABLES

    @property
    def has_timeframes(self) -> bool:
        """Return whether its rows and partitions have a timeframe each."""
        return self.contract.partitions[0].column == "timeframe"

    @property
    def time_column(self) -> str:
        """Return the column whose days or months are the partitions."""
        return self.contract.partitions[-1].column

    @property
    def unit(self) -> Unit:
        return cast("Unit", self.contract.partitions[-1].transform)

    def cutoff(self, timeframe: Timeframe, as_of: date) -> date:
        """Return the first day of a timeframe that is kept. A partition is deleted when all its days have expired."""
        # A month of candles is kept until all its days have expired, and so is what was recorded of its days.
        return partition_of(self.unit, min(each.cutoff(as_of) for each in (timeframe, *self.explained)))

    def parse_partitions(self, text: str, as_of: date) -> tuple[ExpiredPartition, ...]:
        """Return the partitions of a job's argument. Raise InputError for one that has not expired."""
        return tuple(self._parse_partition(part, as_of) for part in text.split(",") if part)

    def _parse_partition(self, text: str, as_of: date) -> ExpiredPartition:
        name, _, day_text = text.rpartition(":")
        day = parse_day(day_text)
        # Without timeframes in its rows, the retention of at most one applies.
        by_name = {each.name if self.has_timeframes else "": each for each in self.timeframes}
        found = by_name.get(name)
        if found is None:
            raise InputError(f"'{text}' names no timeframe of {self.name}: nothing is deleted")
        cutoff = self.cutoff(found, as_of)
        if day != partition_of(self.unit, day) or day >= cutoff:
            raise InputError(f"{day} is not a partition of {found} before the cutoff {cutoff}: nothing is deleted")
        return ExpiredPartition(found.name, day)

    def format_partition(self, partition: ExpiredPartition) -> str:
        """Return a partition as in the argument of a job: its day, after its timeframe if its rows have one."""
        return f"{partition.timeframe}:{partition.day}" if self.has_timeframes else str(partition.day)


def maintained_table(settings: Settings, name: str) -> MaintainedTable:
    """Return the candle table of a timeframe, or a record table."""
    every = tuple(settings.timeframes.values())
    if name == PUBLICATIONS:
        return MaintainedTable(name, settings.publications_contract, every, ("number",))
    if name == REVISIONS:
        return MaintainedTable(name, settings.revisions_contract, every, (*KEY, "publication"))
    if name == RECONCILIATION:
        return MaintainedTable(name, settings.reconciliation_contract, every, RECONCILIATION_KEY)
    if name == COVERAGE:
        # It explains the candles of every timeframe, also of one that is no longer enabled.
        explained = tuple(settings.retained_timeframes)
        longest = min(explained, key=lambda each: each.cutoff(_ANY_DAY))
        return MaintainedTable(name, settings.coverage_contract, (longest,), COVERAGE_KEY, explained)
    if name == COVERAGE_NOTES:
        return MaintainedTable(name, settings.coverage_notes_contract, (), ("recorded_at", "note"))
    timeframe = settings.timeframe(name)
    return MaintainedTable(name, settings.candles_contract(timeframe), (timeframe,), KEY)
