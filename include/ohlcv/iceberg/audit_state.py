"""What the audit has recorded in a candle table: held series, the newest rejected run, and decisions of operators."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from pyiceberg.table import Table

from ohlcv.iceberg.snapshot_summary import built_ranges, job_summary, main_snapshots, read_checkpoint
from ohlcv.model.audit_records import DECISIONS_PROPERTY, REJECTION_PROPERTY, Decisions, HeldSeries, Rejection
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import Range, merge_ranges, parse_time, to_microseconds
from ohlcv.model.timeframes import Timeframe

_WITH_VALUES = re.compile(r"(.*)@([0-9a-f]{8})", re.DOTALL)


@dataclass(frozen=True)
class AuditState:
    """Records of the audit in the table of a timeframe."""

    timeframe: Timeframe
    # The series that has been held longest first.
    held: tuple[HeldSeries, ...]
    # The newest rejected run.
    rejection: Rejection | None
    # Whether later commits cover the range of that run.
    is_resolved: bool
    decisions: Decisions

    def oldest_age(self, now: datetime) -> timedelta | None:
        """Return how long the first series has been held, None if none is held."""
        return age_of(self.held[0].since, now) if self.held else None

    def find_held(self, key: str) -> HeldSeries | None:
        """Return the held series with a key, which may name the values that are held."""
        name, values = key, None
        # A symbol may end like values.
        if all(each.name(self.timeframe) != key for each in self.held) and (match := _WITH_VALUES.fullmatch(key)):
            name, values = match.groups()
        found = next((each for each in self.held if each.name(self.timeframe) == name), None)
        if found is not None and values not in (None, found.values):
            now = found.name_with_values(self.timeframe)
            raise InputError(f"the values of {name} have changed, now it is {now}: see 'ohlcv audit show {name}'")
        return found


def read_audit_state(table: Table, timeframe: Timeframe) -> AuditState:
    """Return the records of the audit in a candle table."""
    rejection = Rejection.from_text(table.properties.get(REJECTION_PROPERTY))
    return AuditState(
        timeframe,
        tuple(sorted(read_checkpoint(table).held, key=lambda each: (parse_time(each.since)[0], each.key))),
        rejection,
        rejection is not None and _is_covered(table, timeframe, rejection),
        read_decisions(table),
    )


def read_decisions(table: Table) -> Decisions:
    """Return the decisions of operators that a candle table holds."""
    return Decisions.from_text(table.properties.get(DECISIONS_PROPERTY))


def age_of(time: str, now: datetime) -> timedelta:
    """Return the age of a recorded time."""
    return max(now - parse_time(time)[0], timedelta(0))


def _is_covered(table: Table, timeframe: Timeframe, rejection: Rejection) -> bool:
    """Return whether commits after a rejection cover its range. Such a run may have held some of its series."""
    rejected = Range(parse_time(rejection.start)[0], parse_time(rejection.end)[0])
    rejected_at = to_microseconds(parse_time(rejection.at)[0])
    built: list[Range] = []
    for snapshot in main_snapshots(table):
        if snapshot.timestamp_ms < rejected_at // 1000:
            break
        built += built_ranges(job_summary(snapshot), timeframe)
    return any(span.start <= rejected.start and rejected.end <= span.end for span in merge_ranges(built))
