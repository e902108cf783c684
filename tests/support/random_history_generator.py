"""Generator of random histories: what happens to a trades table and its candle tables in what order."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import count

from ohlcv.model.timeframes import TIMEFRAMES
from support.random_history_crashes import BUILD_POINTS, REPROCESS_POINTS
from support.random_history_series import RandomSeries
from support.random_history_steps import (
    Advance,
    Build,
    Change,
    CompactSource,
    Crash,
    Delete,
    Deleter,
    Deliver,
    DropHours,
    ExpireSource,
    History,
    Maintain,
    Record,
    Reprocess,
    Rewrite,
    Rollback,
    Scheduled,
    Start,
    Step,
)

# The hours before the end of a month, of February in a leap year and of a year, and an ordinary day.
BEGINS = tuple(
    datetime.fromisoformat(text).replace(tzinfo=UTC)
    for text in ("2026-02-28T22:31", "2024-02-29T21:04", "2025-12-31T22:58", "2026-07-14T09:17", "2026-03-31T23:29")
)
TIMEFRAME_SETS = ("", "", "", "1m,1h,1d", "5m,4h", "1m,5m,15m,30m,1h,2h,4h,1d")
# Ages of late trades in days. The candles of one timeframe after the other have expired.
AGES = (1, 2, 30, 89, 100, 200, 400, 4 * 366, 6 * 366)
# Trades that a scheduled run may read beyond its own range: enough for everything, or for two hours.
BUDGETS = ("100000000", "11000")
PACES = (1, 5, 5, 7, 15, 30, 61, 24 * 60)
ROUNDS = 8
# Rows of a series.
MAX_ROWS = 1_000_000


class Generator:
    """The history as it grows. `generate` returns it."""

    def __init__(self, seed: str, exchanges: int, rounds: int = ROUNDS) -> None:
        self._chance = random.Random(seed)
        self._rounds = rounds
        self._series = [
            RandomSeries(f"X{number}", random.Random(f"{seed} X{number}"), count(number * MAX_ROWS))
            for number in range(exchanges)
        ]
        begin = self._chance.choice(BEGINS)
        timeframes = self._chance.choice(TIMEFRAME_SETS)
        environment = {
            "OHLCV_REPAIR_TRADES": self._chance.choices(BUDGETS, (3, 1))[0],
            "OHLCV_AUDIT": self._chance.choices(("before", "after"), (4, 1))[0],
        }
        if timeframes:
            environment["OHLCV_TIMEFRAMES"] = timeframes
        self._names = timeframes.split(",") if timeframes else ["1m", "5m", "30m", "1h", "1d"]
        self._now = begin
        # Few old hours, so that several deliveries change each of them.
        hour = _hour(begin)
        ages = self._chance.sample(AGES, 4)
        self._old = [hour - 3, hour - 9, *(hour - 24 * age - self._chance.randrange(3) for age in ages)]
        self._steps: list[Step] = []
        self._hours: set[int] = set()
        row_group, is_large = self._chance.choice((2, 5, 1_000_000)), self._chance.random() < 0.5
        self._history = History(seed, begin, environment, row_group, is_large, ())

    def generate(self) -> History:
        """Return the history."""
        self._deliver()
        # Most ledgers begin with an empty table.
        self._steps += [Record(name) for name in self._names if self._chance.random() < 0.7]
        for number in range(self._rounds):
            for _ in range(self._chance.choice((1, 1, 2))):
                self._deliver()
            if number:
                self._change_source()
            self._run_schedule()
            for _ in range(self._chance.choice((1, 2, 3))):
                self._operate()
            self._now += timedelta(minutes=self._chance.choice(PACES))
            self._steps.append(Advance(self._now))
        self._steps += [Scheduled(name) for name in self._names]
        self._steps += [Record(name) for name in ("", *self._names)]
        return replace(self._history, steps=tuple(self._steps))

    def _any_timeframe(self) -> str:
        return self._chance.choice(self._names)

    def _any_hour(self) -> int:
        """Return a recent hour, mostly, or an old one, or one in the future."""
        recent = _hour(self._now)
        kind = self._chance.choices(("now", "before", "old", "future"), (8, 3, 5, 0.4))[0]
        if kind == "old":
            return self._chance.choice(self._old)
        return recent + {"now": 0, "before": -1, "future": self._chance.randrange(1, 30)}[kind]

    def _any_day(self) -> date:
        hours = sorted(hour for hour in self._hours if hour <= _hour(self._now))
        return _day(self._chance.choice(hours)) if hours else self._now.date()

    # Changes of the trades.

    def _deliver(self) -> None:
        hours = [self._any_hour() for _ in range(self._chance.choice((1, 2, 4)))]
        rows = [row for each in self._series if self._chance.random() < 0.7 for row in each.deliver(hours)]
        if not rows:
            return
        self._chance.shuffle(rows)
        self._hours.update(hours)
        self._steps.append(Deliver(tuple(rows), self._chance.choice((1, 1, 1, 2))))

    def _change_source(self) -> None:
        changes: dict[Callable[[], None], float] = {
            self._delete: 3,
            self._rewrite: 2,
            self._compact_source: 1,
            self._drop_hours: 1.5,
            self._expire_source: 1.5,
            lambda: None: 1,
        }
        self._chance.choices(list(changes), list(changes.values()))[0]()

    def _delete(self) -> None:
        share = self._chance.choice((0.05, 0.2))
        numbers = [number for each in self._series for number in each.numbers(share)]
        deleters: tuple[Deleter, ...] = ("pyiceberg", "copy-on-write", "merge-on-read")
        by = self._chance.choices(deleters, (2, 1, 1))[0]
        if numbers:
            self._steps.append(Delete(tuple(numbers), by))

    def _some_hours(self) -> tuple[int, ...]:
        known = sorted(self._hours)
        return tuple(sorted(self._chance.sample(known, min(len(known), self._chance.choice((1, 1, 2))))))

    def _rewrite(self) -> None:
        if hours := self._some_hours():
            self._steps.append(Rewrite(hours, self._chance.choice((1, 2, 3)), self._chance.randrange(1_000)))

    def _compact_source(self) -> None:
        self._steps.append(CompactSource(self._any_day()))

    def _drop_hours(self) -> None:
        if hours := self._some_hours():
            self._steps.append(DropHours(hours))

    def _expire_source(self) -> None:
        self._steps.append(ExpireSource(self._chance.choice((1, 1, 3))))

    # Runs and operations.

    def _run_schedule(self) -> None:
        """Start the runs that are due; some are left out, as if the schedule had been paused."""
        for name in self._names:
            if self._chance.random() < 0.5:
                self._steps.append(Scheduled(name, self._crash(BUILD_POINTS)))

    def _crash(self, points: tuple[str, ...]) -> Crash | None:
        if self._chance.random() > 0.12:
            return None
        return Crash(self._chance.choice(points), self._chance.choice((1, 1, 2)) if points is REPROCESS_POINTS else 1)

    def _operate(self) -> None:
        operations: dict[Callable[[], None], float] = {
            self._build: 4,
            self._reprocess: 2,
            self._maintain: 3,
            self._rollback: 2,
            self._change_columns: 1,
            self._record: 2,
        }
        self._chance.choices(list(operations), list(operations.values()))[0]()

    def _build(self) -> None:
        name = self._any_timeframe()
        length = TIMEFRAMES[name].length
        first = datetime.fromtimestamp(self._chance.choice([_hour(self._now), *self._hours]) * 3600, UTC)
        start = _floor(first, length) - self._chance.choice((0, 0, 1)) * length
        end = min(start + max(timedelta(hours=self._chance.choice((1, 1, 3))), length), _floor(self._now, length))
        end = _floor(end, length)
        if start < end:
            starts: tuple[Start, ...] = ("cleared", "backfill", "manual")
            by = self._chance.choice(starts)
            is_pruned = self._chance.random() < 0.15
            self._steps.append(Build(name, start, end, by, is_pruned, self._crash(BUILD_POINTS)))

    def _reprocess(self) -> None:
        names = tuple(name for name in self._names if self._chance.random() < 0.7) or (self._any_timeframe(),)
        is_pruned = self._chance.random() < 0.15
        self._steps.append(Reprocess(self._any_day(), names, is_pruned, self._crash(REPROCESS_POINTS)))

    def _maintain(self) -> None:
        self._steps.append(Maintain(self._any_timeframe(), self._chance.choice(("delete", "compact", "expire"))))

    def _rollback(self) -> None:
        self._steps.append(Rollback(self._any_timeframe(), self._chance.choice((1, 1, 2, 4))))

    def _change_columns(self) -> None:
        self._steps.append(Change(self._any_timeframe(), self._chance.choice(("widen", "extend", "extend"))))

    def _record(self) -> None:
        self._steps.append(Record(self._chance.choice(("", *self._names))))


def generate(seed: str, exchanges: int, rounds: int = ROUNDS) -> History:
    """Return the history of a seed. Each exchange has its own random numbers."""
    return Generator(seed, exchanges, rounds).generate()


def _hour(time: datetime) -> int:
    return int(time.timestamp()) // 3600


def _day(hour: int) -> date:
    return datetime.fromtimestamp(hour * 3600, UTC).date()


def _floor(time: datetime, length: timedelta) -> datetime:
    return time - (time - datetime(1970, 1, 1, tzinfo=UTC)) % length
