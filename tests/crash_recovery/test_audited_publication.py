"""Readers during runs whose engine has defects: no wrong candle is visible, and no table goes backwards."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ohlcv.iceberg.snapshot_summary import job_summary, main_snapshots
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.model import summary_keys
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import from_microseconds
from ohlcv.model.source_checkpoint import SourceCheckpoint
from ohlcv.model.source_hours import hour_number
from ohlcv.quality.audit import Audit
from spark_jobs.iceberg import candle_writer
from support.audits import candidate_branches
from support.default_tables import candles_contract
from support.harness import Harness, Key, Stored, at, read_stored_candles, trade
from support.processes import wait_for
from support.reference_model import Candle, Trade

# On a busy machine the long test takes half an hour.
pytestmark = [pytest.mark.crash_recovery, pytest.mark.timeout(3600)]

DAY = at("2026-03-01 00:00")
HOUR = timedelta(hours=1)
# With one failing series of 25 the others are published; with two the run is rejected.
SYMBOLS = [f"S{number:02}-USD" for number in range(25)]
# Seconds between two polls of the reader.
POLL_SECONDS = 0.2
# With this seed the first three runs have every outcome.
SEED = 83
# Hours whose trades arrive during the test.
HOURS = 12


class TradeFeed:
    """Trades that arrive before each run, with the correct candles after each arrival.

    Each new trade has a larger quantity, so the volume of a candle grows with every change.
    """

    def __init__(self, harness: Harness, generator: random.Random) -> None:
        self._harness = harness
        self._generator = generator
        self._trades = 0
        # The correct candles by trades snapshot, and all of them.
        self.expected: dict[int, dict[Key, Candle]] = {}
        self.correct: set[Candle] = set()

    def load(self, hour: int, end: datetime, symbols: list[str]) -> None:
        """Load one trade of each symbol in an hour of the day. All trades so far are before `end`."""
        self._harness.load(self._trade(symbol, DAY + hour * HOUR) for symbol in symbols)
        candles = self._harness.expected("1m", (DAY, end)).candles
        self.correct |= set(candles.values())
        self.expected[self._harness.snapshots()[-1]] = candles

    def _trade(self, symbol: str, hour: datetime) -> Trade:
        self._trades += 1
        time = hour + timedelta(minutes=self._generator.randrange(60), microseconds=self._trades)
        return trade(time, f"{100 + self._trades % 7}", f"{self._trades}", symbol=symbol)


class Reader(threading.Thread):
    """A reader that polls the current snapshot and checks what it sees."""

    def __init__(self, harness: Harness, feed: TradeFeed) -> None:
        super().__init__(daemon=True)
        self._settings = harness.settings
        self._feed = feed
        self._ended = threading.Event()
        self._is_awaited = threading.Event()
        self._rows: dict[Key, Stored] = {}
        self.seen: list[Snapshot] = []
        self.polls = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            contract = candles_contract(self._settings.timeframe("1m"))
            catalog = open_catalog(self._settings)
            while not self._ended.is_set():
                self._read(load_table(catalog, contract))
                self.polls += 1
                self._is_awaited.wait(POLL_SECONDS)
                self._is_awaited.clear()
        except BaseException as error:
            self.error = error

    def await_poll(self) -> None:
        """Wait until a poll that begins now has ended."""
        # The current poll may have begun before.
        wanted = self.polls + 2

        def has_polled() -> bool:
            self._is_awaited.set()
            return self.polls >= wanted or self.error is not None

        wait_for(has_polled, "the reader polls", poll_seconds=0.002)
        if self.error:
            raise self.error

    def end(self) -> None:
        self._ended.set()
        self.join()

    def _read(self, table: Table) -> None:
        snapshot = table.current_snapshot()
        if snapshot is None or (self.seen and snapshot.snapshot_id == self.seen[-1].snapshot_id):
            assert snapshot or not self.seen
            return
        if self.seen:
            assert snapshot.sequence_number is not None
            assert self.seen[-1].sequence_number is not None
            assert snapshot.sequence_number > self.seen[-1].sequence_number
            assert self.seen[-1].snapshot_id in {each.snapshot_id for each in main_snapshots(table)}
        rows = read_stored_candles(table)
        self._check_candles({key: row.candle for key, row in rows.items()}, job_summary(snapshot))
        for key, old in self._rows.items():
            assert rows[key].updated_at >= old.updated_at
            assert rows[key].candle.volume >= old.candle.volume
        self._rows = rows
        self.seen.append(snapshot)

    def _check_candles(self, candles: dict[Key, Candle], summary: dict[str, str]) -> None:
        """Check that held series have older correct candles, and all others those of the trades snapshot."""
        held = {each.key for each in SourceCheckpoint.from_text(summary[summary_keys.CHECKPOINT]).held}
        expected = self._feed.expected[int(summary[summary_keys.TRADES_SNAPSHOT])]
        assert set(candles.values()) <= self._feed.correct

        def published(of: dict[Key, Candle]) -> dict[Key, Candle]:
            return {key: of[key] for key in of if held_key(key) not in held}

        assert published(candles) == published(expected)


def held_key(key: Key) -> tuple[str, str, int]:
    symbol, exchange, start = key
    return exchange, symbol, hour_number(from_microseconds(start))


# A defect changes the rows that the engine computed, or those that it carries over.
Defect = Callable[[DataFrame], DataFrame]


def wrong_value(symbol: str) -> Defect:
    volume = F.when(F.col("symbol") == symbol, F.col("volume") + 1).otherwise(F.col("volume")).cast("decimal(18,8)")
    return lambda rows: rows.withColumn("volume", volume)


def missing(symbol: str) -> Defect:
    return lambda rows: rows.where(F.col("symbol") != symbol)


def extra(symbol: str) -> Defect:
    def add(rows: DataFrame) -> DataFrame:
        moved = rows.where(F.col("symbol") == symbol)
        for name in ("window_start", "window_end"):
            moved = moved.withColumn(name, F.col(name) + F.expr("INTERVAL 1 MINUTE"))
        return rows.unionByName(moved)

    return add


def doubled(symbol: str) -> Defect:
    return lambda rows: rows.unionByName(rows.where(F.col("symbol") == symbol))


DEFECTS = (wrong_value, missing, extra, doubled)


class FaultyEngine:
    """Defects in the candidates of a run, drawn at random."""

    def __init__(self, generator: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
        self._generator = generator
        # Defects of computed and of carried-over rows. None: the engine is correct.
        self._defects: tuple[list[Defect], list[Defect]] | None = None
        group = candle_writer._group_by_file

        def damaged(carried: DataFrame, rebuilt: DataFrame, *arguments: Any) -> DataFrame:
            for defect in self._defects[0] if self._defects else ():
                rebuilt = defect(rebuilt)
            for defect in self._defects[1] if self._defects else ():
                carried = defect(carried)
            return group(carried, rebuilt, *arguments)

        monkeypatch.setattr(candle_writer, "_group_by_file", damaged)

    def draw(self) -> None:
        """Choose the defects of the next run: none, of one series, of several, or of carried-over rows."""
        computed: list[Defect] = []
        carried: list[Defect] = []
        match self._generator.choices(("none", "one series", "several", "carried"), (6, 8, 2, 2))[0]:
            case "one series":
                computed = self._of(1)
            case "several":
                computed = self._of(3)
            case "carried":
                carried = self._of(1)
        self._defects = computed, carried

    def repair(self) -> None:
        self._defects = None

    def _of(self, series: int) -> list[Defect]:
        defect = self._generator.choice(DEFECTS)
        return [defect(symbol) for symbol in self._generator.sample(SYMBOLS, series)]


@contextmanager
def polling(harness: Harness, feed: TradeFeed, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """Run a reader that polls all the time, at least once while each candidate waits for its publication."""
    reader = Reader(harness, feed)
    check = Audit.check_candidate

    def checked(*arguments: Any) -> Any:
        reader.await_poll()
        return check(*arguments)

    monkeypatch.setattr(Audit, "check_candidate", checked)
    reader.start()
    try:
        yield reader
        reader.await_poll()
    finally:
        reader.end()


@pytest.mark.parametrize("runs", [3, 200])
def test_a_reader_never_sees_a_defect(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: int
) -> None:
    harness = Harness(spark, tmp_path / "home")
    generator = random.Random(SEED)
    feed, engine = TradeFeed(harness, generator), FaultyEngine(generator, monkeypatch)
    outcomes = {"published": 0, "held": 0, "rejected": 0}
    opened = 0
    with polling(harness, feed, monkeypatch) as reader:
        for number in range(runs):
            # A held series is tried again when an hour has passed.
            while opened <= number * HOURS // runs:
                feed.load(opened, DAY + (opened + 1) * HOUR, SYMBOLS)
                opened += 1
            end = DAY + opened * HOUR
            feed.load(generator.randrange(opened), end, generator.sample(SYMBOLS, 5))
            engine.draw()
            outcomes[run(harness, end)] += 1
            reader.await_poll()
        assert all(outcomes.values()), outcomes
        engine.repair()
        # The first run after the repair publishes everything.
        end += HOUR
        feed.load(opened, end, SYMBOLS)
        assert run(harness, end) == "published"
    assert [each.snapshot_id for each in reader.seen] == harness.snapshots("1m")
    assert harness.checkpoint("1m").held == frozenset()
    assert harness.candles("1m") == harness.expected("1m", (DAY, end)).candles
    assert candidate_branches(harness.table("1m")) == []


def run(harness: Harness, end: datetime) -> str:
    """Build as a scheduled run does, and return its outcome."""
    try:
        report = harness.build("1m", end - 2 * HOUR, end, rebuild_pending=True)
    except OhlcvError as error:
        if str(error).startswith("the audit rejected the 1m candles, nothing was published"):
            return "rejected"
        raise
    return "held" if report["held"] else "published"
