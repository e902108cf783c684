"""States of a series in each hour, derived from the facts of the coverage and from notes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ohlcv.model.coverage_columns import REJECTED_COLUMNS
from ohlcv.model.coverage_records import (
    DELAY_BOUNDS,
    EXPECTED_AFTER_TRADE,
    NO_DATA_REPORTED,
    Note,
    State,
)
from ohlcv.model.intervals import HOUR, iso
from ohlcv.model.source_hours import hour_start
from ohlcv.readers.coverage_sequences import MAX_DISTANCE, Judgement, Numbers, judge_numbers

MINUTES = 60
_EXPECTED_HOURS = EXPECTED_AFTER_TRADE // HOUR
# Hours before a range that decide which series are expected in it.
CONTEXT_HOURS = NO_DATA_REPORTED // HOUR
# Hours before and after a range whose numbers are compared: of neighbours, and of hours that overlap these.
NUMBER_HOURS = 2 * MAX_DISTANCE
_DELAY_NAMES = ("0.1 s", "1 s", "10 s", "1 min", "5 min", "1 h", "1 d", "over 1 d")

Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CoverageRow:
    """An hour of a series."""

    # Number of the hour since the epoch.
    hour: int
    state: State
    # Why it has this state; may be empty.
    detail: str
    # Source sequences missing in the hour and between it and the hour before. None: not known.
    missing: int | None
    # The notes that cover a part of the hour.
    notes: tuple[str, ...]
    # The stored row, None if there is none.
    facts: Facts | None

    @property
    def start(self) -> datetime:
        return hour_start(self.hour)

    @property
    def accepted(self) -> int:
        return 0 if self.facts is None else self.facts["accepted"]

    @property
    def rejected(self) -> int:
        return 0 if self.facts is None else sum(self.facts[name] or 0 for name in REJECTED_COLUMNS)

    @property
    def duplicates(self) -> int:
        return 0 if self.facts is None else self.facts["duplicates"]

    @property
    def superseded(self) -> int:
        return 0 if self.facts is None else self.facts["superseded"]

    @property
    def minutes(self) -> int:
        """Return the minutes with an accepted trade as bits."""
        return 0 if self.facts is None else self.facts["minutes"] or 0

    @property
    def longest_silence(self) -> int:
        """Return the most consecutive minutes without an accepted trade."""
        return longest_silence([self.minutes])

    def delay(self, share: float) -> str | None:
        """Return the upper bound of the arrival delay of a share of the trades, such as 0.95. None: not known."""
        return delay_percentile([] if self.facts is None else self.facts["delays"] or [], share)


@dataclass(frozen=True)
class SeriesCoverage:
    """The hours of a series that are known, in their order."""

    exchange: str
    symbol: str
    rows: list[CoverageRow]


@dataclass(frozen=True)
class CountedHours:
    """Which hours the coverage has counted."""

    # The number of the first hour that is not over at the newest recording.
    until: int
    # Earlier hours that changed since they were counted, or were never counted.
    pending: frozenset[int]

    def __contains__(self, hour: int) -> bool:
        return hour < self.until and hour not in self.pending

    def lack(self, first: int, last: int) -> bool:
        """Return whether one of the hours from first to last, both inclusive, is not counted."""
        return last >= self.until or (
            bool(self.pending) and any(hour in self.pending for hour in range(first, last + 1))
        )


@dataclass(frozen=True)
class ExchangeHours:
    """The hours in which some series of an exchange has an accepted trade, sorted."""

    hours: Sequence[int]

    def __contains__(self, hour: int) -> bool:
        position = bisect_left(self.hours, hour)
        return position < len(self.hours) and self.hours[position] == hour

    def without_data(self, first: int, end: int) -> int:
        """Return the number of hours without data from first to before end."""
        return end - first - (bisect_left(self.hours, end) - bisect_left(self.hours, first))


@dataclass(frozen=True, slots=True)
class HourNumbers:
    """The part of a stored row that decides the states of other hours."""

    hour: int
    accepted: int
    lowest: int | None
    highest: int | None
    sequences: int


@dataclass(frozen=True)
class SeriesHistory:
    """All that decides the states of a series."""

    exchange: str
    symbol: str
    # In the order of the hours, from NUMBER_HOURS before the range to NUMBER_HOURS after it.
    rows: Sequence[HourNumbers]
    # The hour of the last accepted trade before these rows, None if there is none within 31 days before the range.
    last_trade: int | None
    exchange_hours: ExchangeHours
    counted: CountedHours
    # Of the series and of its exchange.
    notes: Sequence[Note]


def derive_states(history: SeriesHistory, hours: range, facts: Mapping[int, Facts]) -> list[CoverageRow]:
    """Return the hours that have a stored row or in which the series is expected."""
    numbers = [
        Numbers(row.hour, row.lowest, row.highest, row.sequences)
        for row in history.rows
        if row.sequences and row.lowest is not None and row.highest is not None
    ]
    judged = judge_numbers(numbers, history.counted.lack)
    traded = [row.hour for row in history.rows if row.accepted]
    if history.last_trade is not None:
        traded.insert(0, history.last_trade)
    found = []
    for hour in hours:
        row = facts.get(hour)
        judgement = judged.get(hour)
        state = _state(history, hour, row, judgement, traded)
        if state is not None:
            notes = tuple(note.note for note in history.notes if explains(note) and covers_hour(note, hour))
            # Facts that are counted again soon prove no gap.
            known = judgement is not None and hour in history.counted
            found.append(CoverageRow(hour, *state, judgement.missing if judgement and known else None, notes, row))
    return found


def _state(
    history: SeriesHistory, hour: int, row: Facts | None, judgement: Judgement | None, traded: Sequence[int]
) -> tuple[State, str] | None:
    if row is not None and row["source_expired"]:
        return "source expired", "the trades were deleted after they were counted"
    if row is not None and not row["accepted"] and not (history.exchange and history.symbol):
        return "unknown", "rejected trades without a series"
    if hour not in history.counted:
        if row is None:
            return None
        return "unknown", "the hour is not over" if hour >= history.counted.until else "the hour is counted again soon"
    if row is not None and row["accepted"]:
        return _state_of_numbers(judgement)
    return _state_without_trades(history, hour, row, traded)


def _state_of_numbers(judgement: Judgement | None) -> tuple[State, str]:
    if judgement is None:
        return "unknown", "no source sequences"
    if judgement.has_gap is None:
        return "unknown", judgement.detail
    return ("sequence gaps" if judgement.has_gap else "no gap"), judgement.detail


def _state_without_trades(
    history: SeriesHistory, hour: int, row: Facts | None, traded: Sequence[int]
) -> tuple[State, str] | None:
    position = bisect_left(traded, hour)
    last = traded[position - 1] if position else None
    if not _is_expected(history, hour, last):
        return None if row is None else ("unknown", "rejected trades of a series that is not expected")
    detail = "expected by a note" if last is None else f"last trade in the hour from {iso(hour_start(last))}"
    if row is not None:
        detail += "; all trades of the hour are rejected"
    return ("silent" if hour in history.exchange_hours else "no data"), detail


def _is_expected(history: SeriesHistory, hour: int, last: int | None) -> bool:
    """Return whether trades of a series are expected in an hour. `last` is the hour of its last trade."""
    covering = {note.kind for note in history.notes if covers_start(note, hour)}
    if "delisting" in covering:
        return False
    if "expected" in covering:
        return True
    if last is None or hour - last > CONTEXT_HOURS:
        return False
    return hour - last - history.exchange_hours.without_data(last + 1, hour) <= _EXPECTED_HOURS


def is_of_series(note: Note, exchange: str, symbol: str) -> bool:
    """Return whether a note is of a series or of its whole exchange."""
    return note.exchange == exchange and note.symbol in (None, symbol)


def explains(note: Note) -> bool:
    """Return whether a note explains missing trades. One that only says what is expected does not."""
    return note.kind != "expected"


def overlaps(note: Note, start: datetime, end: datetime) -> bool:
    """Return whether a note covers a part of a range."""
    return note.start_time < end and (note.end_time is None or note.end_time > start)


def covers_hour(note: Note, hour: int) -> bool:
    """Return whether a note covers a part of an hour."""
    return overlaps(note, hour_start(hour), hour_start(hour + 1))


def covers_start(note: Note, hour: int) -> bool:
    """Return whether a note covers the start of an hour."""
    return note.start_time <= hour_start(hour) and (note.end_time is None or note.end_time > hour_start(hour))


def longest_silence(masks: Iterable[int]) -> int:
    """Return the most consecutive minutes without a trade in consecutive hours."""
    longest = current = 0
    for mask in masks:
        # Minute 0 first. Each run of zeros ends with a trade, the last one with the hour.
        *runs, rest = f"{mask:0{MINUTES}b}"[::-1].split("1")
        for run in runs:
            longest, current = max(longest, current + len(run)), 0
        current += len(rest)
    return max(longest, current)


def delay_percentile(delays: Sequence[int], share: float) -> str | None:
    """Return the upper bound of the delay of a share of the trades with an ingestion time; None if none has one."""
    known = delays[: len(DELAY_BOUNDS) + 1]
    total = sum(known)
    reached = 0
    for name, count in zip(_DELAY_NAMES, known, strict=False):
        reached += count
        if total and reached >= share * total:
            return name
    return None


def sum_delays(delays: Iterable[Sequence[int] | None]) -> list[int]:
    """Return the sums of the counts of several hours."""
    return [sum(counts) for counts in zip(*filter(None, delays), strict=True)]
