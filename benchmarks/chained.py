"""The question the first version left open: larger candles from smaller ones (1m, 5m, 30m, 1h, 1d), or from trades?

Both compute a whole day in a warm executor of one core. Processor time, bytes read of tables, and what differs.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pyarrow as pa

from benchmarks.harness import Bench, Cost, Grid, Section, median, same, take_turns
from benchmarks.warm import warm_session
from benchmarks.worlds import KEY_ORDER, World
from ohlcv.ingest.sample_data import Feed
from ohlcv.model.timeframes import DAY, TIMEFRAMES

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
TRADES = 1_000_000
KEYS = ["symbol", "exchange", "window_start"]
FIELDS = ("open_price", "high_price", "low_price", "close_price", "volume", "trade_count", "vwap")


def measure(bench: Bench) -> Section:
    """Measure both, and hold them against each other."""
    section = Section("chained")
    room = bench.room("chained")
    world = World(room / "home")
    trades = TRADES // (20 if bench.quick else 1)
    snapshot = world.append(Feed(BEGIN).batch(BEGIN + DAY, trades))
    answers: dict[str, dict[str, pa.Table]] = {}
    read: dict[str, int] = {}
    with warm_session(world, bench.cluster, room) as session:

        def turn_of(way: str) -> Callable[[], Cost]:
            def turn() -> Cost:
                before, _ = session.ask("input_bytes")
                found, cost = session.ask(way, day=f"{BEGIN:%F}", snapshot=snapshot)
                after, _ = session.ask("input_bytes")
                # Whether a column could hold a null depends on the plan; what it holds must not.
                ordered = {name: _nullable(table.sort_by(KEY_ORDER)) for name, table in found.items()}
                same(f"{way} candles", True, answers.setdefault(way, ordered) == ordered)
                read[way] = after - before
                return cost

            return turn

        turns = {way: turn_of(way) for way in ("direct", "together", "chained")}
        for turn in turns.values():
            turn()  # the first one compiles
        found = take_turns(turns, 1, "a day,")
    section.keep("a day,", found)
    same("candles from one read", True, answers["direct"] == answers["together"])
    grid = Grid(
        f"A day of {trades:,} trades to all timeframes, warm, one core",
        ("way", "runs", "wall s", "cpu s", "MB read of tables"),
    )
    for way, costs in found.items():
        cost = median(costs)
        grid.rows.append((way, len(costs), cost.wall, cost.processor, read[way] / 1e6))
    section.grids += [grid, _differences(answers)]
    return section


def _nullable(table: pa.Table) -> pa.Table:
    return table.cast(pa.schema([field.with_nullable(True) for field in table.schema]))


def _differences(answers: dict[str, dict[str, pa.Table]]) -> Grid:
    """Count the candles of the chain that are not those of the trades, by field."""
    grid = Grid(
        "Candles that differ between the two, by field", ("timeframe", "candles", *FIELDS, "largest difference of vwap")
    )
    for name in TIMEFRAMES:
        direct, chained = (answers[way][name] for way in ("direct", "chained"))
        same(f"{name} windows", direct.select(KEYS).to_pylist(), chained.select(KEYS).to_pylist())
        columns = {
            field: list(zip(direct[field].to_pylist(), chained[field].to_pylist(), strict=True)) for field in FIELDS
        }
        counts = [sum(one != other for one, other in columns[field]) for field in FIELDS]
        largest = max(abs(one - other) for one, other in columns["vwap"])
        grid.rows.append((name, len(direct), *counts, f"{largest:f}"))
    return grid
