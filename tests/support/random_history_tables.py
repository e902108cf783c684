"""The candle tables of a random history: their content is compared with the model after every step."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from pyiceberg.table import Table

from support.harness import Harness, Stored, row_to_stored
from support.random_history_model import EPOCH, Expectation, SourceModel, TableModel, TableState, Value
from support.reference_model import Key

NO_CANDLES: dict[Key, Stored] = {}
# A message lists at most this many differing candles.
MAX_LISTED = 5


class HistoryError(AssertionError):
    """A difference between the real tables and the model."""

    def __init__(self, message: str, exchanges: frozenset[str] = frozenset(), step: int = 0) -> None:
        super().__init__(message)
        # The exchanges whose candles differ, and the number of the step after which they do.
        self.exchanges = exchanges
        self.step = step


@dataclass
class Totals:
    """What a history has checked, and what it has found."""

    histories: int = 0
    series: int = 0
    rows: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    crashes: int = 0
    # Windows in which a stored candle was compared with the expected one.
    candles: int = 0
    publications: int = 0
    revisions: int = 0
    facts: int = 0
    rejected: int = 0
    lost: int = 0
    duplicated: int = 0
    wrong: int = 0


@dataclass(frozen=True)
class Publication:
    """A move of main: what it must be recorded as, and the candles before and after."""

    snapshot: int
    trigger: str
    before: dict[Key, Stored]
    after: dict[Key, Stored]


class CandleTable:
    """A candle table, its model, and all its publications."""

    def __init__(self, harness: Harness, name: str, source: SourceModel, totals: Totals) -> None:
        self._harness = harness
        self._totals = totals
        self.name = name
        self.model = TableModel(harness.settings.timeframe(name), source)
        # The candles that a reader saw last, and the metadata file that it read.
        self.seen: dict[Key, Stored] = {}
        self._metadata = self.table.metadata_location
        # The state of the model at each snapshot.
        self.states: dict[int, tuple[TableState, dict[Key, Stored]]] = {}
        self.publications: list[Publication] = []
        self._log: tuple[tuple[int, int], ...] = ()

    @property
    def table(self) -> Table:
        return self._harness.table(self.name)

    @property
    def snapshot(self) -> int | None:
        found = self.table.current_snapshot()
        return None if found is None else found.snapshot_id

    def assert_unchanged(self) -> None:
        """Assert that no step has changed the table."""
        if self.table.metadata_location != self._metadata:
            self.compare(Expectation(dict(self.model.state.candles)), "", None)

    def compare(self, expected: Expectation, trigger: str, begin: datetime | None) -> None:
        """Compare the table with what a step must have made of it, and take its state over into the model.

        `begin`: when the step began, if it is a run, whose write times are checked.
        """
        table = self.table
        stored = self._read(table)
        old = self.model.state.candles
        problems = []
        for key in expected.candles.keys() | stored.keys():
            found = None if key not in stored else Value(stored[key].candle, stored[key].measures)
            if found == expected.candles.get(key) or (key in expected.either and found == old.get(key)):
                continue
            problems.append((key, self._problem(key, found, expected.candles.get(key))))
        self._totals.candles += len(stored)
        if problems:
            raise self._failure(problems)
        self._check_times(stored, begin)
        candles = {key: Value(each.candle, each.measures) for key, each in stored.items()}
        self.model.state = replace(self.model.state, candles=candles)
        self._add_publications(table, trigger, stored)
        self.seen, self._metadata = stored, table.metadata_location

    def remember_state(self) -> None:
        """Store the state of the model under the current snapshot."""
        if (snapshot := self.snapshot) is not None and snapshot not in self.states:
            self.states[snapshot] = self.model.state, self.seen

    def _read(self, table: Table) -> dict[Key, Stored]:
        found: dict[Key, Stored] = {}
        twice = []
        for row in table.scan().to_arrow().to_pylist():
            stored = row_to_stored(row)
            key = stored.candle.symbol, stored.candle.exchange, stored.candle.window_start_us
            if key in found:
                twice.append((key, "is stored twice"))
            found[key] = stored
        if twice:
            self._totals.duplicated += len(twice)
            raise self._failure(twice)
        return found

    def _problem(self, key: Key, found: Value | None, expected: Value | None) -> str:
        if found is None:
            self._totals.lost += 1
            return f"is missing: {_shown(expected)}"
        self._totals.wrong += 1
        return f"is {_shown(found)} instead of {_shown(expected)}"

    def _failure(self, problems: list[tuple[Key, str]]) -> HistoryError:
        lines = [
            f"{symbol!r} {exchange} {EPOCH + timedelta(microseconds=start):%FT%T}: {problem}"
            for (symbol, exchange, start), problem in sorted(problems)[:MAX_LISTED]
        ]
        text = f"{len(problems)} candles of {self.name} differ:\n  " + "\n  ".join(lines)
        return HistoryError(text, frozenset(key[1] for key, _ in problems))

    def _check_times(self, stored: dict[Key, Stored], begin: datetime | None) -> None:
        """Check that candles whose values stay the same keep their write times, and that a run stamps all others."""
        stamps = set()
        problems = []
        for key, each in stored.items():
            before = self.seen.get(key)
            if before is None or before.candle != each.candle:
                stamps.add(each.updated_at)
                created = each.updated_at if before is None else before.created_at
                is_right = each.created_at == created and begin is not None and each.updated_at >= begin
            else:
                is_right = (before.created_at, before.updated_at) == (each.created_at, each.updated_at)
            if not is_right:
                problems.append((key, f"has the write times {each.created_at} and {each.updated_at}, before {before}"))
        if len(stamps) > 1 and not problems:
            raise HistoryError(f"a run has written {self.name} with several times: {sorted(stamps)}")
        if problems:
            self._totals.wrong += len(problems)
            raise self._failure(problems)

    def roll_back(self, snapshots: int) -> None:
        """Roll back by published snapshots that have not expired, and take their state over into the model."""
        published = self._harness.snapshots(self.name)[:-1]
        if not published:
            return
        target = published[-min(snapshots, len(published))]
        self.table.manage_snapshots().rollback_to_snapshot(target).commit()
        self.model.state, self.seen = self.states[target]
        stored = self._read(self.table)
        if stored != self.seen:
            different = [key for key in stored.keys() | self.seen.keys() if stored.get(key) != self.seen.get(key)]
            raise self._failure([(key, "differs after the rollback") for key in different])
        self._add_publications(self.table, "rollback", stored)
        self._metadata = self.table.metadata_location

    def _add_publications(self, table: Table, trigger: str, stored: dict[Key, Stored]) -> None:
        log = tuple((each.snapshot_id, each.timestamp_ms) for each in table.metadata.snapshot_log)
        known = set(self._log)
        for snapshot, _ in (each for each in log if each not in known):
            assert trigger, f"nothing may change {self.name} in this step"
            before = self.publications[-1].after if self.publications else NO_CANDLES
            self.publications.append(Publication(snapshot, trigger, before, stored))
        self._log = log


def _shown(value: Value | None) -> str:
    if value is None:
        return "no candle"
    each = value.candle
    text = (
        f"{each.open} {each.high} {each.low} {each.close} volume {each.volume} of {each.trade_count} vwap {each.vwap}"
    )
    return f"{text} {value.measures}" if value.measures else text


def counted(before: dict[Key, Any], after: dict[Key, Any]) -> dict[str, int]:
    """Return how many candles were inserted, updated and deleted."""
    common = before.keys() & after.keys()
    changed = [key for key in common if revision_of(before[key]) != revision_of(after[key])]
    inserted, deleted = len(after.keys() - before.keys()), len(before.keys() - after.keys())
    return {"inserted": inserted, "updated": len(changed), "deleted": deleted}


def revision_of(stored: Stored) -> tuple[Any, ...]:
    """Return the columns of which a change is a revision: all but the measures."""
    return stored.candle, stored.created_at, stored.updated_at
