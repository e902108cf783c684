"""Reprocessing throughput: a day of ten million trades in a warm executor of one core, compared with other engines.

All engines read the same files of the same Iceberg table, one process at a time on one core, and return the same exact
1m candles of the day, with each trade counted once. In the second comparison one percent of the trades are duplicates.
The whole job is also measured: it builds five timeframes, compares them with the stored candles and commits.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, date, datetime
from functools import partial
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.bench_catalog import BenchCatalog
from benchmarks.harness import Bench, Cost, Grid, Section, Verdict, measure_interleaved, median, require_equal
from benchmarks.measured_process import MeasuredProcess, measured_process
from benchmarks.peers import ENGINES, RESULT_SCHEMA, Hours
from benchmarks.processes import WORKER, pin
from benchmarks.warm import warm_session
from ohlcv.ingest.sample_data import sample_trades
from ohlcv.model.intervals import EPOCH
from ohlcv.spark.local_cluster import local_cluster

TRADES = 10_000_000
DUPLICATES = 0.01
DAY_END = datetime(2026, 1, 31, tzinfo=UTC)
DAY = "2026-01-30"
MINUTE = 60_000_000
SPARK, DUCKDB = "spark", "duckdb"
# Numbers of warm-up runs and of measured runs. A JVM is warm when its optimising compiler, which shares the core, has
# finished: a day of trades takes 27, 13, 11, 10 s and then stays at 10 s. The day with duplicates needs one warm-up run
# less, because the whole job has already processed it.
WARM_UPS, REPEATS = {"without": 4, "with": 1}, {"without": 2, "with": 1}
# Minimum of trades per second of one core, and maximum ratio to the time of DuckDB.
MIN_THROUGHPUT, MAX_DUCKDB_RATIO = 1_000_000, 3.0


def build_large_catalog(bench: Bench) -> tuple[BenchCatalog, dict[str, int]]:
    """Build a day of trades, then append duplicates. Return the snapshots without and with duplicates."""
    catalog = BenchCatalog(bench.folder_for("large") / "home")
    count = TRADES // (20 if bench.quick else 1)
    trades = sample_trades(count, 24, DAY_END, duplicates=DUPLICATES)
    is_duplicate = pc.greater_equal(trades["platform_sequence"], count)
    clean = catalog.append(trades.filter(pc.invert(is_duplicate)))
    return catalog, {"without": clean, "with": catalog.append(trades.filter(is_duplicate))}


def files_of(catalog: BenchCatalog, snapshot: int) -> dict[int, list[str]]:
    """Return the data files of a snapshot by hour since the epoch."""
    hours: dict[int, list[str]] = {}
    for task in catalog.table().scan(snapshot_id=snapshot).plan_files():
        day, hour = task.file.partition[0], task.file.partition[1]
        number = (day - EPOCH.date()).days if isinstance(day, date) else int(day)
        hours.setdefault(number * 24 + int(hour), []).append(urlsplit(task.file.file_path).path)
    return hours


def as_engine_result(candles: pa.Table) -> pa.Table:
    """Convert Spark's candles to the format of the other engines, with amounts in units of 10^-8."""
    wide = pa.decimal128(38, 8)

    def units(name: str) -> pa.ChunkedArray:
        scaled = pc.multiply(pc.cast(candles[name], pa.decimal128(28, 8)), pa.scalar(100_000_000, pa.decimal128(9, 0)))
        return pc.cast(pc.cast(scaled, wide), pa.int64())

    columns = {
        "symbol": candles["symbol"],
        "exchange": candles["exchange"],
        "window_start": pc.cast(candles["window_start"], pa.int64()),
        **{name: units(f"{name}_price") for name in ("open", "high", "low", "close")},
        "trade_count": candles["trade_count"],
        "volume": units("volume"),
        "vwap": units("vwap"),
    }
    keys = [(name, "ascending") for name in ("symbol", "exchange", "window_start")]
    found: pa.Table = pa.table(columns).select(RESULT_SCHEMA.names).cast(RESULT_SCHEMA).sort_by(keys)
    return found


def measure(bench: Bench) -> Section:
    """Measure all engines alternately."""
    section = Section("reprocessing")
    folder = bench.folder_for("large")
    catalog, snapshots = build_large_catalog(bench)
    core = max(os.sched_getaffinity(0))
    with ExitStack() as stack:
        cluster = stack.enter_context(local_cluster(folder / "spark"))
        # Executors inherit the affinity, so that every engine uses one core.
        pin(cluster.processes[WORKER].pid, core)
        session = stack.enter_context(warm_session(catalog, cluster, folder))
        peers = {
            name: stack.enter_context(
                measured_process(name, [sys.executable, "-m", "benchmarks.peers", name], dict(os.environ), folder)
            )
            for name in ENGINES
        }
        grid = Grid(
            f"A day of {catalog.table().scan(snapshot_id=snapshots['without']).count():,} trades to exact 1m candles, "
            "warm, one core",
            ("engine", "duplicates", "runs", "wall s", "cpu s", "trades/s per core", "relative to duckdb"),
        )
        compare = partial(_compare, bench, section, grid, catalog, session, peers)
        compare("without", snapshots["without"])
        whole = _whole_job(session, section)
        compare("with", snapshots["with"])
        section.grids += [grid, whole]
    section.notes.append(
        "All engines resolve duplicates and apply the total order. The other engines process one hour at a time and "
        "divide in Python, which is part of their time. Only DuckDB's plan was chosen among several. "
        "Rows with one run were measured after the others and not alternately with them."
    )
    return section


def _compare(
    bench: Bench,
    section: Section,
    grid: Grid,
    catalog: BenchCatalog,
    session: MeasuredProcess,
    peers: dict[str, MeasuredProcess],
    name: str,
    snapshot: int,
) -> None:
    hours = files_of(catalog, snapshot)
    rows = catalog.table().scan(snapshot_id=snapshot).count()
    results: list[pa.Table] = []

    def check_result(found: pa.Table) -> None:
        results[:] = results or [found]
        require_equal("1m candles of a day", True, results[0].equals(found))

    def ours() -> Cost:
        found, cost = session.call("candles", timeframe="1m", day=DAY, snapshot=snapshot)
        check_result(as_engine_result(found))
        return cost

    for _ in range(WARM_UPS[name]):
        ours()
    turns: dict[str, Callable[[], Cost]] = {SPARK: ours}
    for peer, each in peers.items():
        turns[peer] = _turn(each, hours, check_result)
    # The limits apply to these two. The other engines are shown for information.
    compared = {engine: turns.pop(engine) for engine in (SPARK, DUCKDB)}
    label = f"{name} duplicates:"
    found = measure_interleaved(compared, min(REPEATS[name], bench.repeats), label) | measure_interleaved(
        turns, 1, label
    )
    section.add_measurements(f"{name} duplicates,", found)
    base = median(found[DUCKDB]).wall
    for engine, costs in found.items():
        cost = median(costs)
        grid.rows.append(
            (engine, name, len(costs), cost.wall, cost.processor, round(rows / cost.wall), cost.wall / base)
        )
    wall = median(found[SPARK]).wall
    section.verdicts += [
        Verdict(f"{name} duplicates, trades a second per core", rows / wall, MIN_THROUGHPUT, at_least=True),
        Verdict(f"{name} duplicates, time relative to duckdb", wall / base, MAX_DUCKDB_RATIO),
    ]


def _turn(peer: MeasuredProcess, hours: Hours, check_result: Callable[[pa.Table], None]) -> Callable[[], Cost]:
    def turn() -> Cost:
        found, cost = peer.call("candles", hours=hours, length=MINUTE)
        check_result(found)
        return cost

    return turn


def _whole_job(session: MeasuredProcess, section: Section) -> Grid:
    """Measure the reprocessing job on empty candle tables."""
    grid = Grid(
        "The whole job in the same session, with duplicates: five timeframes, comparison, commits",
        ("candles", "wall s", "cpu s", "trades/s per core", "phases"),
    )
    report, cost = session.call("reprocess", day=DAY)
    trades = report["timeframes"][0]["trades_read"]
    inserted = sum(each["candles"]["inserted"] for each in report["timeframes"])
    phases = ", ".join(f"{name} {seconds:.1f}" for name, seconds in report["seconds"].items() if name != "total")
    grid.rows.append((f"{inserted:,} inserted", cost.wall, cost.processor, round(trades / cost.wall), phases))
    section.add_measurements("whole job", {"all inserted": [cost]})
    return grid
