"""Random histories of a table that is extended at some moment, beside the same history without measures.

Trades are delivered late, corrected in price or side alone, and deleted. Runs, reprocessing, compaction, expiry and
retention alternate in every order. After each step all columns of the contract are equal, bit by bit.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import pytest
from pyspark.sql import SparkSession

from ohlcv.model.intervals import HOUR, Range
from ohlcv.model.table_contracts import CANDLE_COLUMNS
from spark_jobs.jobs import rebuild, table_maintenance
from spark_jobs.jobs.reprocess_day import DayRequest, reprocess
from support.harness import Harness, at, trade
from support.maintenance import run_maintenance
from support.reference_model import Trade

pytestmark = pytest.mark.crash_recovery

COLUMNS = [column.name for column in CANDLE_COLUMNS]
DAYS = (date(2026, 2, 28), date(2026, 3, 1))
HOURS = [at(f"{day:%F} {hour:02}:00") for day in DAYS for hour in (9, 10)]
MONTHS_LATER = date(2026, 11, 21)
STEPS = ("deliver", "side", "build", "build", "side", "build", "reprocess", "compact", "expire", "drop")


class Clock(datetime):
    """The clock of the jobs; both histories read the same times."""

    ticks = 0

    @classmethod
    def now(cls, tz: Any = None) -> Self:
        """Return the time of the current step."""
        return cls(2026, 3, 2, tzinfo=UTC) + timedelta(seconds=cls.ticks)


class Twins:
    """Two catalogs with the same history; the 5m table of the first one is extended at some moment."""

    def __init__(self, spark: SparkSession, home: Path, chance: random.Random) -> None:
        self.extended, self.plain = Harness(spark, home / "extended"), Harness(spark, home / "plain")
        self.chance = chance
        self._trades: list[Trade] = []

    @property
    def both(self) -> Iterator[Harness]:
        """Yield both catalogs, each connected to the session."""
        for harness in (self.extended, self.plain):
            harness.activate()
            yield harness

    def step(self, kind: str) -> None:
        """Do one step in both catalogs."""
        Clock.ticks += 1
        getattr(self, kind)()

    def deliver(self) -> None:
        """Load new trades, some of them late, and a correction of a price."""
        batch = [self._trade(len(self._trades) + number) for number in range(self.chance.randrange(5, 30))]
        if self._trades:
            old = self.chance.choice(self._trades)
            batch.append(self._again(old, price=(old.price or 0) + self.chance.choice((1, 0))))
        self._load(batch)

    def side(self) -> None:
        """Correct the side of a trade alone, by a newer version or one that is equal otherwise."""
        old = self.chance.choice(self._trades)
        new = replace(old, side=self.chance.choice(("BUY", "SELL", "buy", None)))
        self._load([new if self.chance.random() < 0.5 else self._again(new)])

    def build(self) -> None:
        """Build some windows."""
        start = self.chance.choice(HOURS) + self.chance.randrange(12) * timedelta(minutes=5)
        end = start + self.chance.randrange(1, 12) * timedelta(minutes=5)
        pending = self.chance.random() < 0.5
        for harness in self.both:
            harness.build("5m", start, end, rebuild_pending=pending)

    def reprocess(self) -> None:
        """Rebuild a day."""
        self.rebuild(self.chance.choice(DAYS))

    def rebuild(self, day: date) -> None:
        """Rebuild a day in both catalogs."""
        start = at(f"{day:%F}")
        for harness in self.both:
            ranges = {harness.settings.timeframe("5m"): Range(start, start + 24 * HOUR)}
            reprocess(harness.spark, harness.settings, DayRequest(day, ranges))

    def compact(self) -> None:
        """Merge the files of all partitions."""
        for harness in self.both:
            run_maintenance(harness, "5m", "compact", as_of=date(2026, 3, 4))

    def expire(self) -> None:
        """Expire all snapshots but the newest one."""
        for harness in self.both:
            run_maintenance(harness, "5m", "expire", as_of=date(2026, 3, 4))

    def drop(self) -> None:
        """Delete a day as the retention does; a later run may build it again."""
        day = self.chance.choice(DAYS)
        for harness in self.both:
            run_maintenance(harness, "5m", "delete", as_of=MONTHS_LATER, days=(day,))

    def extend(self) -> None:
        """Add the measures to one table."""
        self.extended.extend("5m")

    def rows(self, harness: Harness) -> list[tuple[Any, ...]]:
        """Return the columns of the contract of all candles, ordered by key."""
        found = harness.table("5m").scan(selected_fields=tuple(COLUMNS)).to_arrow().select(COLUMNS)
        return sorted(tuple(row.values()) for row in found.to_pylist())

    def _trade(self, number: int) -> Trade:
        time = self.chance.choice(HOURS) + timedelta(microseconds=self.chance.randrange(3_600_000_000))
        return trade(
            time,
            str(self.chance.randrange(90, 110)),
            f"{self.chance.randrange(1, 4)}.00000001",
            trade_id=f"{self.chance.choice(('', 't'))}{number}",
            symbol=self.chance.choice(("BTC", "ETH")),
            side=self.chance.choice(("BUY", "SELL", "BUY", "SELL", "BUY", "SELL", None)),
        )

    def _again(self, old: Trade, **values: Any) -> Trade:
        newer = (old.ingestion_timestamp or 0) + 1 + len(self._trades)
        return replace(old, ingestion_timestamp=newer, **values)

    def _load(self, batch: list[Trade]) -> None:
        for harness in self.both:
            harness.load(batch)
        self._trades += batch


@pytest.mark.parametrize("seed", range(1, 4))
def test_columns_of_the_contract_do_not_depend_on_measures(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(rebuild, "datetime", Clock)
    monkeypatch.setattr(table_maintenance, "MIN_SNAPSHOTS_TO_KEEP", 1)
    monkeypatch.setattr(table_maintenance, "SNAPSHOT_AGE", timedelta(0))
    twins = Twins(spark, tmp_path, chance)
    twins.step("deliver")
    steps = [*STEPS, *chance.choices(STEPS, k=4), "extend"]
    chance.shuffle(steps)
    for number, kind in enumerate(steps):
        twins.step(kind)
        assert twins.rows(twins.extended) == twins.rows(twins.plain), (number, steps)
        # Each candle has all measures or none.
        twins.extended.measures("5m")
    for day in DAYS:
        twins.step("deliver")
        twins.rebuild(day)
    assert twins.rows(twins.extended) == twins.rows(twins.plain)
    assert {each.measures for each in twins.plain.stored("5m").values()} == {None}
    newest = (at(f"{DAYS[1]:%F}"), at("2026-03-02 00:00"))
    expected = twins.extended.expected_measures("5m", newest)
    found = twins.extended.measures("5m")
    assert {key: found[key] for key in expected} == expected
