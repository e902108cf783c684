"""One hour of ten million trades to exact 1m candles, on one and on two cores, on both engines.

The trades are spread evenly over 8, 1,000 and 10,000 series, or are all of one series. The executor is warm and has the
memory of a reprocessing job; the job splits the hour over its cores.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.bench_catalog import KEY_ORDER, BenchCatalog
from benchmarks.harness import (
    Bench,
    Cost,
    Grid,
    Section,
    Verdict,
    log_progress,
    measure_interleaved,
    median,
    require_equal,
)
from benchmarks.warm import EngineSession, pinned_session
from ohlcv.config.execution import ENGINES, Engine
from ohlcv.ingest.sample_data import sample_trades
from ohlcv.model.intervals import HOUR

TRADES = 10_000_000
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
# Maximum time of two cores relative to one.
MAX_RATIO = 0.6


@dataclass(frozen=True)
class Kind:
    """An hour of trades of a number of series."""

    name: str
    series: int
    rounds: int
    has_limit: bool = True


KINDS = (
    Kind("8 series", 8, rounds=2),
    Kind("1 series", 1, rounds=2),
    Kind("1,000 series", 1_000, rounds=1, has_limit=False),
    Kind("10,000 series", 10_000, rounds=1, has_limit=False),
)


def spread_evenly(trades: pa.Table, series: int) -> pa.Table:
    """Return the trades as trades of a number of series, which follow one another in turn, with ids from 1."""
    numbers = np.arange(len(trades))
    symbols = pa.array([f"S{number:05}-USD" for number in range(series)])
    changed = {
        "symbol": symbols.take(pa.array(numbers % series)),
        "exchange": pa.repeat("binance", len(trades)),
        "trade_id": pc.cast(pa.array(numbers // series + 1), pa.string()),
        "source_sequence": pa.nulls(len(trades), pa.int64()),
    }
    return pa.table({name: changed.get(name, trades[name]) for name in trades.column_names}, schema=trades.schema)


def build_catalog(bench: Bench) -> tuple[BenchCatalog, int]:
    """Build an hour of trades for each kind and return the snapshot with all of them."""
    catalog = BenchCatalog(bench.folder_for("hours") / "home")
    snapshot = 0
    for number, kind in enumerate(KINDS, 1):
        trades = sample_trades(_trades(bench), 1, BEGIN + number * HOUR)
        snapshot = catalog.append(spread_evenly(trades, kind.series))
        log_progress(f"hour with {kind.name} generated")
    return catalog, snapshot


def _trades(bench: Bench) -> int:
    return TRADES // (5 if bench.quick else 1)


def measure(bench: Bench) -> Section:
    """Measure both engines on one and on two cores alternately."""
    section = Section("hours")
    cores = sorted(os.sched_getaffinity(0))[-2:]
    catalog, snapshot = build_catalog(bench)
    grid = Grid(
        "An hour of trades to exact 1m candles, warm",
        ("series", "engine", "cores", "runs", "wall s", "cpu s", "trades/s", "relative to one core"),
    )
    with ExitStack() as stack:
        sessions = {
            (engine, count): stack.enter_context(
                pinned_session(catalog, bench.folder_for("hours"), engine, cores[-count:])
            )
            for engine in ENGINES
            for count in (1, 2)
        }
        for number, kind in enumerate(KINDS):
            _measure_kind(bench, section, grid, sessions, kind, BEGIN + number * HOUR, snapshot)
    section.grids.append(grid)
    return section


def _measure_kind(
    bench: Bench,
    section: Section,
    grid: Grid,
    sessions: dict[tuple[Engine, int], EngineSession],
    kind: Kind,
    begin: datetime,
    snapshot: int,
) -> None:
    results: list[pa.Table] = []
    trades = _trades(bench)

    def turn(session: EngineSession) -> Cost:
        found, cost = session.candles(begin, begin + HOUR, snapshot)
        results[:] = results or [found.sort_by(KEY_ORDER)]
        require_equal(f"candles of {kind.name}", True, results[0].equals(found.sort_by(KEY_ORDER)))
        return cost

    turns: dict[str, Callable[[], Cost]] = {
        f"{engine}, {count}": partial(turn, session) for (engine, count), session in sessions.items()
    }
    measure_interleaved(turns, 1, f"{kind.name}, warm-up")
    found = measure_interleaved(turns, min(kind.rounds, bench.repeats), kind.name)
    section.add_measurements(kind.name, found)
    for engine, count in sessions:
        cost, single = median(found[f"{engine}, {count}"]), median(found[f"{engine}, 1"])
        ratio = cost.wall / single.wall
        figures = cost.wall, cost.processor, round(trades / cost.wall), ratio
        grid.rows.append((kind.name, engine, count, len(found[f"{engine}, {count}"]), *figures))
        if count == 2 and kind.has_limit:
            name = f"{kind.name}, {engine}, two cores relative to one"
            section.verdicts.append(Verdict(name, ratio, MAX_RATIO))
