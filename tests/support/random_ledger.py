"""A random history of trades, runs of the real jobs and operations of an administrator, with all that readers saw.

The truth of each cause is computed from the trades that this module has delivered, corrected and deleted.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from ohlcv.iceberg.ledger_tables import read_publications
from ohlcv.iceberg.snapshot_log import time_of
from ohlcv.iceberg.tables import open_catalog
from ohlcv.iceberg.write_lock import write_lock
from ohlcv.ledger.expiry import keep_since, try_record
from ohlcv.model.intervals import HOUR, MICROSECOND, Range, floor_time, from_microseconds, to_microseconds
from ohlcv.model.ledger_records import Publication
from ohlcv.readers.candles import read_candles
from spark_jobs.jobs.reprocess_day import DayRequest, reprocess
from support.candle_rows import COLUMNS, MINUTE, Row
from support.harness import Harness, trade
from support.ledger import key_of, seen
from support.maintenance import run_maintenance
from support.reference_model import Trade

CANDLES = "iceberg.market_data.gold_ohlcv_1m"
MINUTES = timedelta(minutes=1)
# Number of windows with trades, one per minute before the history begins.
WINDOWS = 16
SERIES = [("BTC-USD", "kraken"), ("ETH-USD", "kraken"), ("BTC-USD", "binance")]
# Valid trades by id.
Trades = dict[str | None, Trade]
Rows = Counter[tuple[Any, ...]]
Key = tuple[str, str, datetime]
# Random steps and their weights.
STEPS = {"scheduled": 6, "reprocess": 2, "rollback": 2, "duplicate": 2, "writer": 1, "compact": 1, "maintain": 1}
_HOUR = HOUR // MICROSECOND
_UPDATED_AT = COLUMNS.index("updated_at")


@dataclass(frozen=True)
class State:
    """What readers saw from a time on, and the kind of the step that made it."""

    seen_at: datetime
    snapshot: int | None
    rows: Rows
    kind: str
    # The trades that a run had read. None: no run made this state.
    trades: Trades | None = None


@dataclass(frozen=True)
class Observation:
    """What a reader saw at a moment."""

    moment: datetime
    rows: Rows


@dataclass(frozen=True)
class Change:
    """The change of a candle by a publication, and why."""

    publication: int
    key: Key
    change: str
    causes: frozenset[str]
    lateness: int | None
    before: Rows
    after: Rows


@dataclass
class RandomLedger:
    """The history. `step` makes one random step of it."""

    harness: Harness
    chance: random.Random
    states: list[State] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    # Trades from which the candles with a stamp were built.
    built_from: dict[datetime, Trades] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    _trades: Trades = field(default_factory=dict)
    _runs: int = 0

    def __post_init__(self) -> None:
        self.end = floor_time(datetime.now(UTC), MINUTE.length)

    def begin(self, *, is_empty: bool) -> None:
        """Begin the ledger, with an empty table or after the first run."""
        if is_empty:
            self.record()
            (first,) = self.publications()
            self.states.append(State(first.visible_at, None, seen(()), "first"))
        self.deliver()
        self.scheduled()
        self._observe("scheduled", is_run=True)
        if not is_empty:
            self.record()
            self.states = [replace(self.states[-1], kind="first")]

    def publications(self) -> list[Publication]:
        """Return what is recorded."""
        return read_publications(self.harness.settings, open_catalog(self.harness.settings), MINUTE)

    def step(self, kind: str = "") -> None:
        """Change the trades, then make a step of a kind, by default a random one, and read what it made."""
        changes = (self.deliver, self.correct, self.move, self.delete)
        for change in self.chance.choices(changes, (3, 3, 3, 1), k=2):
            change()
        kind = kind or self.chance.choices(list(STEPS), list(STEPS.values()))[0]
        getattr(self, kind)()
        self._observe(kind, is_run=kind in ("scheduled", "reprocess"))
        self.kinds[kind] += 1

    def rows(self) -> list[Row]:
        found: list[Row] = read_candles(self.harness.settings, MINUTE).to_pylist()
        return found

    def _observe(self, kind: str, *, is_run: bool) -> None:
        rows = self.rows()
        self.observations.append(Observation(datetime.now(UTC), seen(rows)))
        table = self.harness.table("1m")
        log = table.metadata.snapshot_log
        known = {(state.snapshot, state.seen_at) for state in self.states}
        new = [each for each in log if (each.snapshot_id, time_of(each.timestamp_ms)) not in known]
        # Entries that the ledger does not know begin before the first state.
        new = [each for each in new if not self.states or time_of(each.timestamp_ms) > self.states[-1].seen_at]
        assert len(new) <= 1 or kind == "compact" or not self.states, kind
        for entry in new:
            trades = dict(self._trades) if is_run else None
            self.states.append(State(time_of(entry.timestamp_ms), entry.snapshot_id, seen(rows), kind, trades))
        if is_run and new:
            for row in rows:
                self.built_from.setdefault(row["updated_at"], dict(self._trades))

    # Changes of the trades.

    def deliver(self) -> None:
        """Deliver trades in several windows; most windows are old, so most trades are late."""
        batch: list[Trade] = []
        for _ in range(self.chance.randrange(3, 9)):
            symbol, exchange = self.chance.choice(SERIES)
            time = self.end - self.chance.randrange(1, WINDOWS + 1) * MINUTES
            time += timedelta(seconds=self.chance.randrange(60), microseconds=self.chance.randrange(1_000_000))
            batch.append(
                trade(
                    time,
                    str(self.chance.randrange(90, 110)),
                    str(self.chance.randrange(1, 4)),
                    trade_id=f"t{len(self.harness.trades) + len(batch)}",
                    symbol=symbol,
                    exchange=exchange,
                    ingested=datetime.now(UTC),
                )
            )
        self._load(batch)

    def correct(self) -> None:
        """Deliver trades again with other prices."""
        self._load(
            [
                self._again(each, price=(each.price or 0) + self.chance.choice([1, -1, 0]))
                for each in self._sample(self.chance.randrange(1, 4))
            ]
        )

    def move(self) -> None:
        """Deliver a trade again with a time in another window of its hour."""
        for each in self._sample(1):
            assert each.timestamp is not None
            hour = each.timestamp // _HOUR * _HOUR
            moved = hour + self.chance.randrange(_HOUR)
            if moved < to_microseconds(self.end):
                self._load([self._again(each, timestamp=moved)])

    def delete(self) -> None:
        """Delete a trade, as another writer does."""
        for each in self._sample(1):
            self._sql(f"DELETE FROM {{trades}} WHERE trade_id = '{each.trade_id}'")
            del self._trades[each.trade_id]

    def _sample(self, count: int) -> list[Trade]:
        valid = list(self._trades.values())
        return self.chance.sample(valid, min(count, len(valid)))

    def _again(self, old: Trade, **values: Any) -> Trade:
        changed = replace(old, **values)
        # Every trade of this history has these values.
        assert changed.timestamp is not None
        assert changed.price is not None
        assert changed.quantity is not None
        return trade(
            from_microseconds(changed.timestamp),
            changed.price,
            changed.quantity,
            trade_id=changed.trade_id,
            symbol=changed.symbol,
            exchange=changed.exchange,
            ingested=datetime.now(UTC),
            message_id=f"{len(self.harness.trades)}-{self.chance.random()}",
        )

    def _load(self, batch: Iterable[Trade]) -> None:
        trades = list(batch)
        self.harness.load(trades)
        self._trades.update({each.trade_id: each for each in trades})

    def _sql(self, statement: str) -> None:
        # Spark remembers the tables of a session, and other clients have changed them.
        for name in ("{trades}", CANDLES):
            self.harness.sql(f"REFRESH TABLE {name}")
        self.harness.sql(statement)

    # Steps.

    def scheduled(self) -> None:
        """Build like a scheduled run."""
        self._runs += 1
        self.harness.build(
            "1m",
            self.end - MINUTE.lookback,
            self.end,
            rebuild_pending=True,
            dag_id="ohlcv_1m",
            run_id=f"scheduled__{self._runs}",
        )

    def reprocess(self) -> None:
        """Build all windows like the DAG for reprocessing."""
        self._runs += 1
        start = floor_time(self.end - 2 * HOUR, HOUR)
        request = DayRequest(
            self.end.date(),
            {MINUTE: Range(start, self.end)},
            prune=True,
            dag_id="ohlcv_reprocess",
            run_id=f"manual__{self._runs}",
        )
        reprocess(self.harness.spark, self.harness.settings, request)

    def rollback(self) -> None:
        """Roll back as the runbook says, or undo that."""
        current, ancestors = self.states[-1].snapshot, self.harness.snapshots("1m")
        table = self.harness.table("1m")
        later = {
            state.snapshot
            for state in self.states
            if state.snapshot is not None and state.snapshot not in ancestors and table.snapshot_by_id(state.snapshot)
        }
        name = CANDLES.removeprefix("iceberg.")
        if later and self.chance.random() < 0.4:
            chosen = self.chance.choice(sorted(later))
            self._sql(f"CALL iceberg.system.set_current_snapshot('{name}', {chosen})")
            return
        known = {state.snapshot for state in self.states}
        earlier = [each for each in ancestors if each in known and each != current][-4:]
        if earlier:
            self._sql(f"CALL iceberg.system.rollback_to_snapshot('{name}', {self.chance.choice(earlier)})")

    def duplicate(self) -> None:
        """Store a key of a recent window again with other values, as another writer does."""
        rows = [row for row in self.rows() if row["window_start"] >= self.end - MINUTE.lookback]
        if not rows:
            return
        row = self.chance.choice(sorted(rows, key=key_of))
        columns = ", ".join("close_price + 5" if name == "close_price" else name for name in COLUMNS)
        with write_lock(self.harness.settings, self.harness.settings.candles_contract(MINUTE)):
            self._sql(f"INSERT INTO {CANDLES} SELECT {columns} FROM {CANDLES} WHERE {_is(row)} LIMIT 1")

    def writer(self) -> None:
        """Delete a candle, as another writer does."""
        rows = sorted(self.rows(), key=key_of)
        if not rows:
            return
        with write_lock(self.harness.settings, self.harness.settings.candles_contract(MINUTE)):
            self._sql(f"DELETE FROM {CANDLES} WHERE {_is(self.chance.choice(rows))}")

    def compact(self) -> None:
        """Merge the files of all partitions."""
        run_maintenance(self.harness, "1m", "compact", as_of=self.end.date() + timedelta(days=2))

    def maintain(self) -> None:
        """Record, then expire what the ledger does not need, as the maintenance does."""
        self.record()
        self.expire()

    def expire(self) -> None:
        """Expire all snapshots that neither readers nor the ledger need."""
        since = keep_since(self.harness.settings, MINUTE)
        run_maintenance(self.harness, "1m", "expire", as_of=self.end.date() + timedelta(days=2), keep_since=since)

    def record(self) -> None:
        """Record the ledger."""
        attempt = try_record(self.harness.settings, MINUTE)
        assert attempt.error is None
        assert attempt.report is not None
        assert attempt.report.gap is None

    # The truth.

    def state_at(self, moment: datetime) -> State | None:
        """Return what readers saw at a moment."""
        return next((state for state in reversed(self.states) if state.seen_at <= moment), None)

    def changes(self) -> list[Change]:
        """Return all changes since the ledger began."""
        found = []
        for number, (before, after) in enumerate(pairwise(self.states), 2):
            old, new = _by_key(before.rows), _by_key(after.rows)
            changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
            found += [self._change(number, key, before, after) for key in changed]
        return found

    def _change(self, number: int, key: Key, before: State, after: State) -> Change:
        old, new = _by_key(before.rows).get(key), _by_key(after.rows).get(key)
        name = "updated" if old and new else "inserted" if new else "deleted"
        causes: frozenset[str] = frozenset()
        lateness = None
        if after.kind in ("duplicate", "writer"):
            causes = frozenset(["unknown"])
        elif after.trades is not None and old:
            stamp = max(row[_UPDATED_AT] for row in old)
            causes, newest = causes_of(key, self.built_from[stamp], after.trades)
            if newest is not None:
                lateness = newest - to_microseconds(key[2] + MINUTE.length)
            if not causes and stamp in {row[_UPDATED_AT] for row in self.states[0].rows}:
                # The ledger does not know from which trades its first candles were built.
                causes = frozenset(["unknown"])
        return Change(number, key, name, causes, lateness, old or Counter(), new or Counter())


def causes_of(key: Key, before: Trades, after: Trades) -> tuple[frozenset[str], int | None]:
    """Return how the trades of a window differ, and when the newest of the added ones was ingested."""
    causes, added = set(), []
    for number in before.keys() | after.keys():
        old, new = before.get(number), after.get(number)
        was, is_now = _is_in(old, key), _is_in(new, key)
        if not (was or is_now) or (old and new and _values(old) == _values(new)):
            continue
        if new is None:
            causes.add("trade removed")
        elif old is None:
            causes.add("trade added")
            added.append(new.ingestion_timestamp)
        else:
            causes.add("trade corrected" if was and is_now else "trade moved")
    return frozenset(causes), max((each for each in added if each is not None), default=None)


def _is_in(found: Trade | None, key: Key) -> bool:
    if found is None or found.timestamp is None or (found.symbol, found.exchange) != key[:2]:
        return False
    return key[2] <= from_microseconds(found.timestamp) < key[2] + MINUTE.length


def _values(found: Trade) -> tuple[Any, ...]:
    return found.timestamp, found.price, found.quantity, found.source_sequence


def _by_key(rows: Rows) -> dict[Key, Rows]:
    found: dict[Key, Rows] = {}
    for row, copies in rows.items():
        found.setdefault((row[0], row[1], row[2]), Counter())[row] += copies
    return found


def _is(row: Row) -> str:
    return (
        f"symbol = '{row['symbol']}' AND exchange = '{row['exchange']}' "
        f"AND window_start = TIMESTAMP '{row['window_start']:%Y-%m-%d %H:%M:%S}'"
    )
