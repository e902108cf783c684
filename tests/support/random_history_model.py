"""Model of a random history in plain Python: what the trades table and each candle table contain after each step.

It computes candles by the reference model and shares no code with the planner, the jobs and the maintenance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta

from ohlcv.model.timeframes import Timeframe
from support.reference_model import (
    HOUR_MICROSECONDS,
    NARROW_LIMIT,
    Candle,
    Key,
    Measures,
    Trade,
    partition_hour,
    reference_candles,
    reference_measures,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# First and end of a range of windows in microseconds.
Span = tuple[int, int]


@dataclass(frozen=True)
class Value:
    """A candle, and its measures if its table had them when it was built."""

    candle: Candle
    measures: Measures | None = None


class SourceModel:
    """The rows of the trades table, and when those of each hour changed."""

    def __init__(self) -> None:
        self.rows: dict[int, Trade] = {}
        self.by_hour: dict[int, dict[int, Trade]] = {}
        # Number of the commits so far, and the last commit that changed the rows of an hour, or only its files.
        self.commits = 0
        self.changed: dict[int, int] = {}
        self.rewritten: dict[int, int] = {}
        # The numbers of the rows of an hour after each of its changes.
        self._versions: dict[int, list[tuple[int, frozenset[int]]]] = {}
        # Snapshot of the last commit, its time in microseconds, and all snapshots that have not expired.
        self.snapshot: int | None = None
        self.committed_at = 0
        self.live: set[int] = set()

    def add(self, rows: Mapping[int, Trade]) -> None:
        self.commits += 1
        self.rows.update(rows)
        changed = set()
        for number, trade in rows.items():
            if has_hour(trade):
                self.by_hour.setdefault(partition_hour(trade), {})[number] = trade
                changed.add(partition_hour(trade))
        self._add_versions(changed)

    def remove(self, numbers: Iterable[int]) -> None:
        self.commits += 1
        changed = set()
        for number in numbers:
            trade = self.rows.pop(number)
            if has_hour(trade):
                del self.by_hour[partition_hour(trade)][number]
                changed.add(partition_hour(trade))
        self._add_versions(changed)

    def _add_versions(self, hours: Iterable[int]) -> None:
        for hour in hours:
            self.changed[hour] = self.commits
            self._versions.setdefault(hour, []).append((self.commits, frozenset(self.by_hour[hour])))

    def rewrite(self, hours: Iterable[int]) -> None:
        self.commits += 1
        self.rewritten.update(dict.fromkeys(hours, self.commits))

    def changed_since(self, commit: int) -> set[int]:
        return {hour for hour, last in self.changed.items() if last > commit}

    def is_as_at(self, hour: int, commit: int) -> bool:
        """Return whether an hour has the same rows as after a commit."""
        then = frozenset[int]()
        for number, rows in self._versions.get(hour, []):
            if number <= commit:
                then = rows
        return then == frozenset(self.by_hour.get(hour, {}))

    def rewritten_since(self, commit: int) -> set[int]:
        return {hour for hour, last in self.rewritten.items() if last > commit}

    def trades_in(self, hours: Iterable[int]) -> list[Trade]:
        return [trade for hour in hours for trade in self.by_hour.get(hour, {}).values()]

    def arrived_since(self, hour: int, time: int) -> bool:
        """Return whether an hour has a row that was ingested at or after a time."""
        return any((trade.ingestion_timestamp or 0) >= time for trade in self.by_hour.get(hour, {}).values())


@dataclass(frozen=True)
class TableState:
    """A candle table, and up to which changes of the trades it was built."""

    candles: Mapping[Key, Value] = field(default_factory=dict)
    # Commit of the trades up to which scheduled runs have examined all changes, its snapshot and its time. None before
    # the first scheduled run.
    cursor: int | None = None
    snapshot: int | None = None
    committed_at: int = 0
    # Hours that changed before and are not built, or not to their end.
    pending: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Expectation:
    """The table after a step. Some keys may also have the value of before."""

    candles: dict[Key, Value]
    either: frozenset[Key] = frozenset()


class TableModel:
    """A candle table: its states by snapshot, and what a run makes of it."""

    def __init__(self, timeframe: Timeframe, source: SourceModel) -> None:
        self.timeframe = timeframe
        self._source = source
        self._width = timeframe.microseconds
        self.state = TableState()
        self.is_wide = self.is_extended = False
        # Whether columns have changed: then windows whose trades have not changed may get another candle.
        self.columns_changed = False

    def own_range(self, now: datetime) -> Span:
        """Return the range of a scheduled run."""
        end = microseconds(now) // self._width * self._width
        return (end - self.timeframe.lookback // timedelta(microseconds=1)) // self._width * self._width, end

    def windows_of(self, hour: int) -> Span:
        """Return the windows that use trades of an hour."""
        start, end = hour * HOUR_MICROSECONDS, (hour + 1) * HOUR_MICROSECONDS
        return start // self._width * self._width, -(-end // self._width) * self._width

    def pending_hours(self) -> set[int]:
        """Return the hours that the next scheduled run must examine."""
        if self.state.cursor is None:
            return set()
        return set(self.state.pending) | self._source.changed_since(self.state.cursor)

    def retained(self, hours: Iterable[int], end: int) -> set[int]:
        """Return the hours whose candles are within the retention at the end of a run."""
        cutoff = self.cutoff((EPOCH + timedelta(microseconds=end)).date())
        return {hour for hour in hours if (EPOCH + timedelta(microseconds=self.windows_of(hour)[0])).date() >= cutoff}

    def cutoff(self, as_of: date) -> date:
        """Return the first day that retention keeps."""
        retention = self.timeframe.retention
        if retention.days:
            return as_of - timedelta(days=retention.days)
        is_leap_day = (as_of.month, as_of.day) == (2, 29)
        day = as_of.replace(year=as_of.year - retention.years, day=28 if is_leap_day else as_of.day)
        return day.replace(day=1) if self._width >= 24 * HOUR_MICROSECONDS else day

    def is_checkpoint_expired(self) -> bool:
        state = self.state
        return (
            state.cursor is not None
            and state.snapshot != self._source.snapshot
            and state.snapshot not in (self._source.live)
        )

    def built(self, spans: Iterable[Span], *, prune: bool = False) -> dict[Key, Value]:
        """Return the table after a run has built the windows of some ranges."""
        merged = merge(spans)
        if not merged:
            return dict(self.state.candles)
        hours = hours_of(merged)
        trades = self._source.trades_in(hours)
        empty = {hour for hour in hours if not self._source.by_hour.get(hour)}
        result = reference_candles(trades, self._width, merged, None if self.is_wide else NARROW_LIMIT)
        measures = reference_measures(trades, self._width, merged) if self.is_extended else {}
        found = {key: value for key, value in self.state.candles.items() if not is_within(key[2], merged)}
        for key, value in self.state.candles.items():
            if key in found or key in result.withheld or prune:
                continue
            new = result.candles.get(key)
            if hours_of([(key[2], key[2] + self._width)]) & empty and (
                (new.trade_count if new else 0) < value.candle.trade_count
            ):
                found[key] = value
        for key, candle in result.candles.items():
            if key not in found:
                found[key] = Value(candle, measures.get(key))
        return found

    def scheduled(self, now: datetime, left: frozenset[int], *, may_defer: bool) -> tuple[Expectation, frozenset[int]]:
        """Return the table after a scheduled run that leaves these hours pending, and those that must be pending."""
        own = self.own_range(now)
        changed = self.pending_hours()
        cursor = self.state.cursor
        certain, uncertain = changed, set() if cursor is None else self._source.rewritten_since(cursor)
        # Hours whose rows are as they were then. Another run may have built them from other rows in between.
        returned = {
            hour for hour in changed - self.state.pending if cursor is not None and self._source.is_as_at(hour, cursor)
        }
        certain = certain - returned
        if self.is_checkpoint_expired():
            # Changed hours are found by ingestion time. Other rows, and deletions, are not.
            certain = {
                hour
                for hour in changed
                if hour in self.state.pending or self._source.arrived_since(hour, self.state.committed_at)
            }
            uncertain, returned = set(self._source.changed), set()
        certain, returned = self.retained(certain, own[1]), self.retained(returned, own[1])
        unfinished = {hour for hour in self._source.by_hour if hour >= own[1] // HOUR_MICROSECONDS}
        unfinished = {
            hour
            for hour in certain | {each for each in unfinished if self._source.by_hour[each]}
            if self.windows_of(hour)[1] > own[1]
        }
        spans = {hour: self._complete(hour, own[1]) for hour in certain}
        beyond = {hour for hour, span in spans.items() if span[0] < span[1] and not contains(own, span)}
        deferred = (beyond & left) - unfinished
        if deferred:
            assert may_defer, f"changed hours were deferred: {sorted(deferred)}"
            newest = max(spans[hour] for hour in deferred)
            rebuilt = {spans[hour] for hour in beyond - deferred}
            assert all(newest < span for span in rebuilt), f"newer hours were deferred than rebuilt: {sorted(deferred)}"
            # The run may also have rebuilt hours of which this model does not know whether the run finds them changed.
            others = {self._complete(hour, own[1]) for hour in (uncertain | returned) - left}
            rebuilt |= {span for span in others if span[0] < span[1] and not contains(own, span)}
            assert any(newest < span for span in rebuilt), f"these were deferred, none was rebuilt: {sorted(deferred)}"
        must = [own, *(spans[hour] for hour in certain - deferred if spans[hour][0] < spans[hour][1])]
        must += [span for hour in returned if (span := self._complete(hour, own[1]))[0] < span[1]]
        may = [self._complete(hour, own[1]) for hour in uncertain]
        may = [span for span in may if span[0] < span[1]]
        new = self.built(must)
        either: set[Key] = set()
        if may:
            everything = self.built([*must, *may])
            either = {key for key in everything.keys() | new.keys() if everything.get(key) != new.get(key)}
            new = {**new, **{key: everything[key] for key in either if key in everything}}
        if self.columns_changed:
            # The windows of the own range that did not change are not read again.
            sure = hours_of([spans[hour] for hour in certain - deferred if spans[hour][0] < spans[hour][1]])
            either |= {key for key in self._keys_in([own], new) if key[2] // HOUR_MICROSECONDS not in sure}
        return Expectation(new, frozenset(either)), frozenset(deferred | unfinished)

    def _keys_in(self, spans: list[Span], candles: Mapping[Key, Value]) -> set[Key]:
        return {key for key in self.state.candles.keys() | candles.keys() if is_within(key[2], spans)}

    def _complete(self, hour: int, end: int) -> Span:
        first, last = self.windows_of(hour)
        return first, min(last, end)

    def advance(self, pending: frozenset[int]) -> None:
        """Record that a scheduled run has examined all changes."""
        source = self._source
        self.state = replace(
            self.state,
            cursor=source.commits,
            snapshot=source.snapshot,
            committed_at=source.committed_at,
            pending=pending,
        )


def has_hour(trade: Trade) -> bool:
    """Return whether the partition of a row is an hour."""
    return trade.exchange_date is not None and trade.exchange_hour in range(24)


def microseconds(time: datetime) -> int:
    return (time - EPOCH) // timedelta(microseconds=1)


def merge(spans: Iterable[Span]) -> list[Span]:
    """Return the fewest ranges that contain the same windows."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return merged


def hours_of(spans: Iterable[Span]) -> set[int]:
    """Return the hours that overlap ranges."""
    return {
        hour for start, end in spans for hour in range(start // HOUR_MICROSECONDS, (end - 1) // HOUR_MICROSECONDS + 1)
    }


def is_within(time: int, spans: Iterable[Span]) -> bool:
    return any(start <= time < end for start, end in spans)


def contains(span: Span, other: Span) -> bool:
    return span[0] <= other[0] and other[1] <= span[1]
