"""Reprocessing throughput: a day of ten million trades in warm executors of one core, compared with other engines.

The job runs on the JVM (`spark`) and on its native engine (`native`). All engines read the same files of the same
Iceberg table, one process at a time on one core, and return the same exact 1m candles of the day, with each trade
counted once: of trades without duplicates, with one percent of them, and (section `redelivered`) of trades that are all
delivered again. The complete job is also measured: it builds five timeframes, compares them with the stored candles,
audits and commits them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.bench_catalog import BenchCatalog, delivered_again
from benchmarks.harness import Bench, Cost, Grid, Section, Verdict, measure_interleaved, median, require_equal
from benchmarks.measured_process import MeasuredProcess, measured_process
from benchmarks.peers import ENGINES, RESULT_SCHEMA, Hours
from benchmarks.warm import EngineSession, OtherEngineError, pinned_session
from ohlcv.config.execution import Engine
from ohlcv.ingest.sample_data import sample_trades
from ohlcv.model.intervals import EPOCH, Range
from ohlcv.model.timeframes import DAY

TRADES = 10_000_000
DUPLICATES = 0.01
DAY_END = datetime(2026, 1, 31, tzinfo=UTC)
MINUTE = 60_000_000
SPARK, NATIVE, DUCKDB = "spark", "native", "duckdb"
ENGINES_OF_THE_JOB: Mapping[str, Engine] = {SPARK: "jvm", NATIVE: "native"}


@dataclass(frozen=True)
class Case:
    """A share of trades that are delivered again, and how it is measured."""

    name: str
    # A JVM is warm when its optimising compiler, which shares the core, has finished.
    warm_ups: int
    # Runs of the engines of the job and of DuckDB. The other engines are shown for information and run once.
    rounds: int
    # Maximum time of the native engine relative to DuckDB.
    max_duckdb_ratio: float | None = None


NONE = Case("0 %", warm_ups=3, rounds=3, max_duckdb_ratio=1.3)
# The complete job has already processed these trades.
ONE_PERCENT = Case("1 %", warm_ups=1, rounds=2, max_duckdb_ratio=1.8)
ALL = Case("100 %", warm_ups=1, rounds=1)


def build_large_catalog(bench: Bench) -> tuple[BenchCatalog, dict[Case, int]]:
    """Build a day of trades, then append duplicates of one percent. Return the snapshots."""
    catalog = BenchCatalog(bench.folder_for("large") / "home")
    count = TRADES // (20 if bench.quick else 1)
    trades = sample_trades(count, 24, DAY_END, duplicates=DUPLICATES)
    is_duplicate = pc.greater_equal(trades["platform_sequence"], count)
    clean = catalog.append(trades.filter(pc.invert(is_duplicate)))
    return catalog, {NONE: clean, ONE_PERCENT: catalog.append(trades.filter(is_duplicate))}


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


@dataclass(frozen=True)
class Engines:
    """All engines, each in a warm process on the same core."""

    sessions: Mapping[str, EngineSession]
    peers: Mapping[str, MeasuredProcess]


@contextmanager
def start_engines(catalog: BenchCatalog, folder: Path) -> Iterator[Engines]:
    """Start a session for each engine of the job, and the processes of the other engines."""
    core = max(os.sched_getaffinity(0))
    with ExitStack() as stack:
        sessions = {
            name: stack.enter_context(pinned_session(catalog, folder, engine, [core]))
            for name, engine in ENGINES_OF_THE_JOB.items()
        }
        peers = {
            name: stack.enter_context(
                measured_process(name, [sys.executable, "-m", "benchmarks.peers", name], dict(os.environ), folder)
            )
            for name in ENGINES
        }
        yield Engines(sessions, peers)


def measure(bench: Bench) -> Section:
    """Measure all engines alternately, without and with one percent of duplicates, and the complete job."""
    section, grid = Section("reprocessing"), _grid()
    catalog, snapshots = build_large_catalog(bench)
    with start_engines(catalog, bench.folder_for("large")) as engines:
        compare = partial(_compare, bench, section, grid, catalog, engines)
        compare(NONE, snapshots[NONE])
        complete = _complete_job(catalog, engines.sessions, section)
        compare(ONE_PERCENT, snapshots[ONE_PERCENT])
    section.grids += [grid, complete]
    return section


def measure_redelivered(bench: Bench) -> Section:
    """Measure all engines with a day of trades that are all delivered again."""
    section, grid = Section("redelivered"), _grid()
    folder = bench.folder_for("redelivered")
    catalog = BenchCatalog(folder / "home")
    trades = sample_trades(TRADES // (20 if bench.quick else 1), 24, DAY_END)
    catalog.append(trades)
    snapshot = catalog.append(delivered_again(trades))
    del trades
    with start_engines(catalog, folder) as engines:
        _compare(bench, section, grid, catalog, engines, ALL, snapshot)
    section.grids.append(grid)
    return section


def _grid() -> Grid:
    return Grid(
        "A day of trades to exact 1m candles, warm, one core",
        ("engine", "delivered again", "deliveries", "runs", "wall s", "cpu s", "deliveries/s", "relative to duckdb"),
    )


def _compare(
    bench: Bench, section: Section, grid: Grid, catalog: BenchCatalog, engines: Engines, case: Case, snapshot: int
) -> None:
    hours = files_of(catalog, snapshot)
    rows = catalog.table().scan(snapshot_id=snapshot).count()
    results: list[pa.Table] = []

    def check_result(found: pa.Table) -> None:
        results[:] = results or [found]
        require_equal("1m candles of a day", True, results[0].equals(found))

    def own_turn(session: EngineSession) -> Cost:
        found, cost = session.candles(DAY_END - DAY, DAY_END, snapshot)
        check_result(as_engine_result(found))
        return cost

    turns: dict[str, Callable[[], Cost]] = {
        name: partial(own_turn, session) for name, session in engines.sessions.items()
    }
    label = f"{case.name} delivered again:"
    try:
        measure_interleaved(turns, case.warm_ups, f"{label} warm-up")
    except OtherEngineError as error:
        section.notes.append(f"{label} {error}")
        del turns[NATIVE]
    others = {name: _turn(peer, hours, check_result) for name, peer in engines.peers.items()}
    turns[DUCKDB] = others.pop(DUCKDB)
    found = measure_interleaved(turns, min(case.rounds, bench.repeats), label) | measure_interleaved(others, 1, label)
    section.add_measurements(label, found)
    base = median(found[DUCKDB]).wall
    for engine, costs in found.items():
        cost = median(costs)
        figures = cost.wall, cost.processor, round(rows / cost.wall), cost.wall / base
        grid.rows.append((engine, case.name, rows, len(costs), *figures))
    if case.max_duckdb_ratio and NATIVE in found:
        ratio = median(found[NATIVE]).wall / base
        section.verdicts.append(Verdict(f"{label} native, relative to duckdb", ratio, case.max_duckdb_ratio))


def _turn(peer: MeasuredProcess, hours: Hours, check_result: Callable[[pa.Table], None]) -> Callable[[], Cost]:
    def turn() -> Cost:
        found, cost = peer.call("candles", hours=hours, length=MINUTE)
        check_result(found)
        return cost

    return turn


def _complete_job(catalog: BenchCatalog, sessions: Mapping[str, EngineSession], section: Section) -> Grid:
    """Measure the reprocessing job of each engine on empty candle tables."""
    grid = Grid(
        "The complete job in the same sessions, 1 % delivered again: five timeframes, comparison, audit, commits",
        ("engine", "candles", "wall s", "cpu s", "deliveries/s", "phases"),
    )
    empty = catalog.save_state()
    results: list[list[pa.Table]] = []
    for name, session in sessions.items():
        report, cost = session.reprocess(DAY_END - DAY)
        results.append([catalog.candles(each, Range(DAY_END - DAY, DAY_END)) for each in catalog.settings.tuning])
        require_equal("candles of the complete job", True, results[0] == results[-1])
        # The other session has not loaded the candle tables yet, so it finds them empty.
        catalog.restore_state(empty)
        deliveries = report["timeframes"][0]["trades_read"]
        inserted = sum(each["candles"]["inserted"] for each in report["timeframes"])
        phases = ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in report["seconds"].items() if phase != "total")
        figures = cost.wall, cost.processor, round(deliveries / cost.wall), phases
        grid.rows.append((name, f"{inserted:,} inserted", *figures))
        section.add_measurements("complete job", {name: [cost]})
    return grid
