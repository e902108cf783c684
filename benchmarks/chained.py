"""Candles of each timeframe from the finer one (1m, 5m, 30m, 1h, 1d), compared with candles from trades.

Both compute a whole day in a warm executor of one core. Measured are CPU time, bytes read and differing values.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pyarrow as pa

from benchmarks.bench_catalog import KEY_ORDER, BenchCatalog
from benchmarks.harness import Bench, Cost, Grid, Section, measure_interleaved, median, require_equal
from benchmarks.warm import warm_session
from ohlcv.ingest.sample_data import Feed
from ohlcv.model.timeframes import DAY, DEFAULT_TIMEFRAMES

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
TRADES = 1_000_000
KEYS = ["symbol", "exchange", "window_start"]
FIELDS = ("open_price", "high_price", "low_price", "close_price", "volume", "trade_count", "vwap")


def measure(bench: Bench) -> Section:
    """Measure both designs and compare their candles."""
    section = Section("chained")
    folder = bench.folder_for("chained")
    catalog = BenchCatalog(folder / "home")
    trades = TRADES // (20 if bench.quick else 1)
    snapshot = catalog.append(Feed(BEGIN).batch(BEGIN + DAY, trades))
    results: dict[str, dict[str, pa.Table]] = {}
    read: dict[str, int] = {}
    with warm_session(catalog, bench.cluster, folder, script="chained_session.py") as session:

        def turn_of(way: str) -> Callable[[], Cost]:
            def turn() -> Cost:
                before, _ = session.call("input_bytes")
                found, cost = session.call(way, day=f"{BEGIN:%F}", snapshot=snapshot)
                after, _ = session.call("input_bytes")
                # The nullability of a column depends on the plan. It is not part of the comparison.
                ordered = {name: _nullable(table.sort_by(KEY_ORDER)) for name, table in found.items()}
                require_equal(f"{way} candles", True, results.setdefault(way, ordered) == ordered)
                read[way] = after - before
                return cost

            return turn

        turns = {way: turn_of(way) for way in ("direct", "together", "chained")}
        for turn in turns.values():
            turn()  # warm-up: the first call compiles
        found = measure_interleaved(turns, 1, "a day,")
    section.add_measurements("a day,", found)
    require_equal("candles from one read", True, results["direct"] == results["together"])
    grid = Grid(
        f"A day of {trades:,} trades to all timeframes, warm, one core",
        ("way", "runs", "wall s", "cpu s", "MB read from tables"),
    )
    for way, costs in found.items():
        cost = median(costs)
        grid.rows.append((way, len(costs), cost.wall, cost.processor, read[way] / 1e6))
    section.grids += [grid, _differences(results)]
    return section


def _nullable(table: pa.Table) -> pa.Table:
    return table.cast(pa.schema([field.with_nullable(True) for field in table.schema]))


def _differences(results: dict[str, dict[str, pa.Table]]) -> Grid:
    """Return the number of chained candles that differ from those built from trades, by field."""
    grid = Grid(
        "Candles that differ between the two, by field", ("timeframe", "candles", *FIELDS, "largest difference of vwap")
    )
    for name in DEFAULT_TIMEFRAMES:
        direct, chained = (results[way][name] for way in ("direct", "chained"))
        require_equal(f"{name} windows", direct.select(KEYS).to_pylist(), chained.select(KEYS).to_pylist())
        columns = {
            field: list(zip(direct[field].to_pylist(), chained[field].to_pylist(), strict=True)) for field in FIELDS
        }
        counts = [sum(one != other for one, other in columns[field]) for field in FIELDS]
        largest = max(abs(one - other) for one, other in columns["vwap"])
        grid.rows.append((name, len(direct), *counts, f"{largest:f}"))
    return grid
