"""The coverage of random deliveries equals a recount in plain Python after every recording."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ohlcv.config.settings import Settings
from ohlcv.coverage.recording import record_coverage
from support.coverage_recount import REASONS
from support.coverage_site import START, CoverageSite
from support.mapped_trades import (
    SHAPES,
    WITHOUT_BOUNDS,
    append_rows,
    mapped_settings,
    random_rows,
    reference_trades,
)
from support.random_deliveries import LATE_HOUR, RandomDeliveries

ROUNDS = 4
# The others are in the lane.
QUICK_SEEDS, ALL_SEEDS = 1, 40
SEEDS = [
    *range(QUICK_SEEDS),
    *(pytest.param(seed, marks=pytest.mark.crash_recovery) for seed in range(QUICK_SEEDS, ALL_SEEDS)),
]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_coverage_equals_a_recount(settings: Settings, seed: int) -> None:
    site = CoverageSite(settings)
    deliveries = RandomDeliveries(site, random.Random(seed))
    for _ in range(ROUNDS):
        deliveries.step()
        # A backlog is counted in several recordings.
        while site.record(max_trades=deliveries.chance.choice((50, 10**9))).pending_hours:
            pass
        site.assert_recorded()
        site.now += timedelta(hours=1)


def test_random_deliveries_have_every_irregularity(settings: Settings) -> None:
    site = CoverageSite(settings)
    deliveries = RandomDeliveries(site, random.Random(2))
    totals: dict[str, int] = {}
    for _ in range(ROUNDS):
        deliveries.step()
        site.record()
        site.assert_recorded()
        for facts in site.recorded.values():
            for name, value in facts.items():
                if isinstance(value, int):
                    totals[name] = totals.get(name, 0) + value
            for number, value in enumerate(facts["delays"]):
                totals[f"delay {number}"] = totals.get(f"delay {number}", 0) + value
            assert facts["deliveries"] == facts["accepted"] + facts["duplicates"] + facts["superseded"] + sum(
                facts[f"rejected_{reason}"] for reason in REASONS
            )
    # Only a mapping finds these.
    never = {"rejected_not_a_number", "rejected_infinite", "rejected_overflow"}
    assert {name for name, total in totals.items() if not total} == never
    cells = site.recorded.keys()
    assert LATE_HOUR in {hour for _, _, hour in cells}
    assert {("", "BTC"), ("X", "")} <= {(exchange, symbol) for exchange, symbol, _ in cells}


@pytest.mark.parametrize(
    ("shape", "properties"),
    [
        pytest.param(
            shape,
            properties,
            id=f"{shape}-{'no bounds' if properties else 'bounds'}",
            # Each shape once, and both kinds of files.
            marks=() if bool(properties) == (shape == "timestamps and doubles") else pytest.mark.crash_recovery,
        )
        for shape in SHAPES
        for properties in ({}, WITHOUT_BOUNDS)
    ],
)
def test_the_coverage_of_a_mapped_table_equals_a_recount(
    tmp_path: Path, shape: str, properties: dict[str, str]
) -> None:
    table_shape = replace(SHAPES[shape], properties=properties)
    settings = mapped_settings(tmp_path, table_shape)
    site = CoverageSite(settings, every_row=settings.trades_mapping.every_row)
    chance = random.Random(shape)
    stored: list[Any] = []
    for number in range(3):
        # The hours of the rounds overlap.
        rows = random_rows(settings.trades_mapping, table_shape, chance, START + timedelta(hours=number), 3)
        append_rows(site.trades_table(), rows)
        stored += rows
        if number == 1:
            stored = [row for row in stored if chance.random() < 0.5]
            table = site.trades_table()
            table.delete()
            append_rows(table, stored)
        # The others are in no hour.
        in_hours = [row for row in stored if "hr" not in row or row["hr"] in range(24)]
        site.trades = reference_trades(in_hours, settings.trades_mapping)
        site.now = START + timedelta(days=3)
        report = record_coverage(settings, site.now, site.catalog)
        assert (report.full is None) == (number > 0)
        site.assert_recorded()
