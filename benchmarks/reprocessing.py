"""Reprocessing throughput: a day of ten million trades in a warm executor of one core, and the same by other engines.

Everything reads the same files of the same Iceberg table, one process at a time on one core, and gives the same exact
answer: the day's 1m candles, each trade once. The second round of the table has one trade in a hundred delivered
again. The whole job, which builds five timeframes, holds them against the stored ones and commits, is measured too.
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

from benchmarks.asking import Asked, asked
from benchmarks.harness import Bench, Cost, Grid, Section, Verdict, median, same, take_turns
from benchmarks.peers import ANSWER, ENGINES, Hours
from benchmarks.processes import WORKER, pin
from benchmarks.warm import warm_session
from benchmarks.worlds import World
from ohlcv.ingest.sample_data import sample_trades
from ohlcv.model.intervals import EPOCH
from ohlcv.spark.local_cluster import local_cluster

TRADES = 10_000_000
DUPLICATES = 0.01
DAY_END = datetime(2026, 1, 31, tzinfo=UTC)
DAY = "2026-01-30"
MINUTE = 60_000_000
SPARK, DUCKDB = "spark", "duckdb"
# Runs before the measured ones, and these. A JVM is warm when its optimising compiler, which shares the core, is done
# with the code: a day of trades takes 27, 13, 11, 10 s and no less from then on. Of days with repeated deliveries one
# is the whole job's, before.
WARM_UPS, REPEATS = {"without": 4, "with": 1}, {"without": 2, "with": 1}
# Trades per second of one core, and how much longer than DuckDB the same answer may take.
THROUGHPUT, AGAINST_DUCKDB = 1_000_000, 3.0


def large_world(bench: Bench) -> tuple[World, dict[str, int]]:
    """Make a day of trades, then its repeated deliveries; give the snapshots without them and with them."""
    world = World(bench.room("large") / "home")
    count = TRADES // (20 if bench.quick else 1)
    trades = sample_trades(count, 24, DAY_END, duplicates=DUPLICATES)
    again = pc.greater_equal(trades["platform_sequence"], count)
    clean = world.append(trades.filter(pc.invert(again)))
    return world, {"without": clean, "with": world.append(trades.filter(again))}


def files_of(world: World, snapshot: int) -> dict[int, list[str]]:
    """List the data files of a snapshot by hour, as a reader would get them from Iceberg."""
    hours: dict[int, list[str]] = {}
    for task in world.table().scan(snapshot_id=snapshot).plan_files():
        day, hour = task.file.partition[0], task.file.partition[1]
        number = (day - EPOCH.date()).days if isinstance(day, date) else int(day)
        hours.setdefault(number * 24 + int(hour), []).append(urlsplit(task.file.file_path).path)
    return hours


def as_answer(candles: pa.Table) -> pa.Table:
    """Put Spark's candles the way the peers give theirs: amounts in hundred-millionths."""
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
    found: pa.Table = pa.table(columns).select(ANSWER.names).cast(ANSWER).sort_by(keys)
    return found


def measure(bench: Bench) -> Section:
    """Measure all engines in turns."""
    section = Section("reprocessing")
    room = bench.room("large")
    world, snapshots = large_world(bench)
    core = max(os.sched_getaffinity(0))
    with ExitStack() as stack:
        cluster = stack.enter_context(local_cluster(room / "spark"))
        # Executors inherit it: one core is one core, for everybody.
        pin(cluster.processes[WORKER].pid, core)
        session = stack.enter_context(warm_session(world, cluster, room))
        peers = {
            name: stack.enter_context(
                asked(name, [sys.executable, "-m", "benchmarks.peers", name], dict(os.environ), room)
            )
            for name in ENGINES
        }
        grid = Grid(
            f"A day of {world.table().scan(snapshot_id=snapshots['without']).count():,} trades to exact 1m candles, "
            "warm, one core",
            ("engine", "deliveries again", "runs", "wall s", "cpu s", "trades/s per core", "against duckdb"),
        )
        compare = partial(_compare, bench, section, grid, world, session, peers)
        compare("without", snapshots["without"])
        whole = _whole_job(session, section)
        compare("with", snapshots["with"])
        section.grids += [grid, whole]
    section.notes.append(
        "Versions are looked for and the total order is followed by all; peers go hour by hour and divide at the end "
        "in Python, which is part of their time. Only DuckDB's plan was chosen among several; the others follow it. "
        "Rows of one run were measured after the others, not in turns with them."
    )
    return section


def _compare(
    bench: Bench,
    section: Section,
    grid: Grid,
    world: World,
    session: Asked,
    peers: dict[str, Asked],
    name: str,
    snapshot: int,
) -> None:
    hours = files_of(world, snapshot)
    rows = world.table().scan(snapshot_id=snapshot).count()
    answers: list[pa.Table] = []

    def judged(found: pa.Table) -> None:
        answers[:] = answers or [found]
        same("1m candles of a day", True, answers[0].equals(found))

    def ours() -> Cost:
        found, cost = session.ask("candles", timeframe="1m", day=DAY, snapshot=snapshot)
        judged(as_answer(found))
        return cost

    for _ in range(WARM_UPS[name]):
        ours()
    turns: dict[str, Callable[[], Cost]] = {SPARK: ours}
    for peer, each in peers.items():
        turns[peer] = _turn(each, hours, judged)
    # The bars are about these two; the others are there to be seen.
    barred = {engine: turns.pop(engine) for engine in (SPARK, DUCKDB)}
    words = f"{name} duplicates:"
    found = take_turns(barred, min(REPEATS[name], bench.repeats), words) | take_turns(turns, 1, words)
    section.keep(f"{name} duplicates,", found)
    base = median(found[DUCKDB]).wall
    for engine, costs in found.items():
        cost = median(costs)
        grid.rows.append(
            (engine, name, len(costs), cost.wall, cost.processor, round(rows / cost.wall), cost.wall / base)
        )
    wall = median(found[SPARK]).wall
    section.verdicts += [
        Verdict(f"{name} duplicates, trades a second per core", rows / wall, THROUGHPUT, at_least=True),
        Verdict(f"{name} duplicates, time against duckdb", wall / base, AGAINST_DUCKDB),
    ]


def _turn(peer: Asked, hours: Hours, judged: Callable[[pa.Table], None]) -> Callable[[], Cost]:
    def turn() -> Cost:
        found, cost = peer.ask("candles", hours=hours, length=MINUTE)
        judged(found)
        return cost

    return turn


def _whole_job(session: Asked, section: Section) -> Grid:
    """Run the reprocessing job itself, with everything to write."""
    grid = Grid(
        "The whole job in the same session, with duplicates: five timeframes, comparison, commits",
        ("candles", "wall s", "cpu s", "trades/s per core", "phases"),
    )
    report, cost = session.ask("reprocess", day=DAY)
    trades = report["timeframes"][0]["trades_read"]
    inserted = sum(each["candles"]["inserted"] for each in report["timeframes"])
    phases = ", ".join(f"{name} {seconds:.1f}" for name, seconds in report["seconds"].items() if name != "total")
    grid.rows.append((f"{inserted:,} inserted", cost.wall, cost.processor, round(trades / cost.wall), phases))
    section.keep("whole job", {"all inserted": [cost]})
    return grid
