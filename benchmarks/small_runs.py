"""A small run per timeframe, ours and by a stock spark-submit, on a cluster and here; its check; and a day of them.

The tables hold two days of trades and of candles, of which the last half of a lookback is missing.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Literal

from croniter import croniter_range

from benchmarks.checking import check
from benchmarks.contest import Contest
from benchmarks.harness import Bench, Cost, Grid, Section, Verdict, median, take_turns
from benchmarks.processes import stock
from benchmarks.warm import warm_session
from benchmarks.worlds import World, made_up_candles
from ohlcv.ingest.sample_data import Feed
from ohlcv.model.intervals import HOUR, Range, iso
from ohlcv.model.timeframes import DAY, TIMEFRAMES, Timeframe
from ohlcv.setup.class_data_sharing import is_current

TRADES = 636_263
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
END = BEGIN + 2 * DAY
# The bars of the 1m run on a cluster, against stock; and how much of its time target any run may take.
PROCESSOR_SHARE, WALL_SHARE, TARGET_SHARE = 0.40, 0.50, 0.50


def small_world(bench: Bench) -> World:
    """Make two days of trades, and the candles of all but their end; made-up ones where neither run nor check looks.

    A check holds candles against those of the next smaller timeframe, so that 1d needs real ones of two days in 1h.
    """
    room = bench.room("small")
    found = (room / "home").exists()
    world = World(room / "home")
    if found:
        return world
    trades = Feed(BEGIN).batch(END, TRADES // (20 if bench.quick else 1))
    world.append(trades)
    with warm_session(world, bench.cluster, room) as session:
        for name, timeframe in TIMEFRAMES.items():
            until = END - timeframe.lookback / 2
            begin = END - TIMEFRAMES["1h"].lookback if timeframe.length < HOUR else BEGIN
            if begin > BEGIN:
                world.append(made_up_candles(world.table(name), Range(BEGIN, begin), timeframe, trades), name)
            session.ask("build", timeframe=name, start=iso(begin), end=iso(until))
    return world


def last_run(world: World, timeframe: Timeframe) -> Contest:
    """Give the scheduled run that is due when the trades end."""
    return Contest(world, timeframe, Range(END - timeframe.lookback, END))


def measure(bench: Bench) -> Section:
    """Measure every timeframe on a cluster, as scheduled runs are."""
    section = Section("small runs")
    if not is_current():
        section.notes.append(
            "There are no archives of classes for this machine ('make setup' makes them): slower runs."
        )
    checked: dict[str, list[Cost]] = {name: [] for name in TIMEFRAMES}
    slow, fast = _beside_stock(bench, section, "cluster", checked)
    checks = Grid("The check of the same run by DuckDB over pyiceberg", ("timeframe", "runs", "wall s", "cpu s"))
    for name, costs in checked.items():
        cost = median(costs)
        checks.rows.append((name, len(costs), cost.wall, cost.processor))
    section.keep("check of", checked)
    section.grids += [checks, schedule(slow, fast)]
    ours, theirs = fast["1m"], slow["1m"]
    section.verdicts += [
        Verdict("1m on a cluster, processor time against stock", ours.processor / theirs.processor, PROCESSOR_SHARE),
        Verdict("1m on a cluster, wall time against stock", ours.wall / theirs.wall, WALL_SHARE),
        *(
            Verdict(
                f"{name} on a cluster, wall time against half its target",
                cost.wall,
                TARGET_SHARE * TIMEFRAMES[name].time_target.total_seconds(),
                " s",
            )
            for name, cost in fast.items()
        ),
    ]
    return section


def measure_local(bench: Bench) -> Section:
    """Measure every timeframe without a cluster, the driver doing the executor's work too."""
    section = Section("small runs without a cluster")
    _beside_stock(bench, section, "local", {})
    return section


def _beside_stock(
    bench: Bench, section: Section, where: Literal["cluster", "local"], checked: dict[str, list[Cost]]
) -> tuple[dict[str, Cost], dict[str, Cost]]:
    """Run every timeframe's job in turns with the stock one; give the costs of both."""
    world = small_world(bench)
    columns = ("timeframe", "runs", "stock wall s", "stock cpu s", "wall s", "cpu s", "wall ratio", "cpu ratio")
    grid = Grid(f"A small run, {where}: {TRADES:,} trades stored, the timeframe's lookback", columns)
    section.grids.append(grid)
    theirs, ours = (bench.stock_cluster, bench.cluster) if where == "cluster" else (None, None)
    slow, fast = {}, {}
    for timeframe in TIMEFRAMES.values():
        contest = last_run(world, timeframe)
        job, name = contest.job(), timeframe.name
        afterwards = partial(_checked, contest, checked[name]) if name in checked else lambda: None
        turns = {
            "stock": partial(contest.measure, stock(job), theirs),
            "ours": partial(contest.measure, job, ours, afterwards),
        }
        # The bars are about the shortest run on a cluster, which comes most often; of the others there is one.
        rounds = bench.repeats if (name, where) == ("1m", "cluster") else 1
        found = take_turns(turns, rounds, f"{name} {where}")
        section.keep(f"{name} {where}", found)
        slow[name], fast[name] = median(found["stock"]), median(found["ours"])
        ratios = fast[name].wall / slow[name].wall, fast[name].processor / slow[name].processor
        figures = slow[name].wall, slow[name].processor, fast[name].wall, fast[name].processor
        grid.rows.append((name, rounds, *figures, *ratios))
    return slow, fast


def _checked(contest: Contest, found: list[Cost]) -> None:
    found.append(check(contest))


def runs_a_day(timeframe: Timeframe) -> int:
    """Count the times a timeframe is due in a day."""
    return len(list(croniter_range(BEGIN, BEGIN + DAY - timedelta(seconds=1), timeframe.cron)))


def schedule(slow: dict[str, Cost], fast: dict[str, Cost]) -> Grid:
    """Reckon what a day's schedule takes, from a run of each timeframe."""
    columns = ("timeframe", "runs a day", "stock cpu s", "cpu s", "stock busy s", "busy s")
    grid = Grid("A day's schedule, reckoned from the runs on a cluster", columns)
    total = [0.0] * 4
    for name, timeframe in TIMEFRAMES.items():
        runs = runs_a_day(timeframe)
        figures = slow[name].processor, fast[name].processor, slow[name].wall, fast[name].wall
        days = [runs * figure for figure in figures]
        total = [before + figure for before, figure in zip(total, days, strict=True)]
        grid.rows.append((name, runs, *days))
    grid.rows.append(("all", sum(map(runs_a_day, TIMEFRAMES.values())), *total))
    return grid
