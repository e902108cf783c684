"""A small run per timeframe, ours and by a stock spark-submit, here and on a cluster; its check; and a day of them.

The table holds two days of trades and their candles, of which the last half of a lookback is missing.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

from croniter import croniter_range

from benchmarks.checking import check
from benchmarks.contest import Contest
from benchmarks.harness import Bench, Cost, Grid, Section, Verdict, median, take_turns
from benchmarks.processes import stock
from benchmarks.warm import warm_session
from benchmarks.worlds import World
from ohlcv.faststart import is_current
from ohlcv.sample import Feed
from ohlcv.timeframes import DAY, TIMEFRAMES, Timeframe
from ohlcv.windows import Range, iso

TRADES = 636_263
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
END = BEGIN + 2 * DAY
# The bars of the 1m run on a cluster, against stock; and how much of its time target any run may take.
PROCESSOR_SHARE, WALL_SHARE, TARGET_SHARE = 0.40, 0.50, 0.50


def small_world(bench: Bench) -> World:
    """Make two days of trades, and the candles of all but their end."""
    room = bench.room("small")
    found = (room / "home").exists()
    world = World(room / "home")
    if found:
        return world
    world.append(Feed(BEGIN).batch(END, TRADES // (20 if bench.quick else 1)))
    with warm_session(world, bench.cluster, room) as session:
        for timeframe in TIMEFRAMES.values():
            until = END - timeframe.lookback / 2
            session.ask("build", timeframe=timeframe.name, start=iso(BEGIN), end=iso(until))
    return world


def last_run(world: World, timeframe: Timeframe) -> Contest:
    """Give the scheduled run that is due when the trades end."""
    return Contest(world, timeframe, Range(END - timeframe.lookback, END))


def measure(bench: Bench) -> Section:
    """Measure every timeframe."""
    section = Section("small runs")
    if not is_current():
        section.notes.append(
            "There are no archives of classes for this machine ('make setup' makes them): slower runs."
        )
    world = small_world(bench)
    columns = (
        "timeframe",
        "where",
        "runs",
        "stock wall s",
        "stock cpu s",
        "wall s",
        "cpu s",
        "wall ratio",
        "cpu ratio",
    )
    grid = Grid(f"A small run: {TRADES:,} trades stored, the timeframe's lookback", columns)
    checks = Grid("The check of the same run by DuckDB over pyiceberg", ("timeframe", "runs", "wall s", "cpu s"))
    ours_on_cluster: dict[str, Cost] = {}
    stock_on_cluster: dict[str, Cost] = {}
    for timeframe in TIMEFRAMES.values():
        contest = last_run(world, timeframe)
        job = contest.job()
        checked: list[Cost] = []
        for where, theirs, ours in (("cluster", bench.stock_cluster, bench.cluster), ("local", None, None)):
            # The bars are about the shortest run on a cluster, which comes most often; of the others there is one.
            rounds = bench.repeats if timeframe.name == "1m" and ours else 1
            turns = {
                "stock": partial(contest.measure, stock(job), theirs),
                "ours": partial(contest.measure, job, ours, partial(_checked, contest, checked)),
            }
            found = take_turns(turns, rounds, f"{timeframe} {where}")
            section.keep(f"{timeframe} {where}", found)
            slow, fast = median(found["stock"]), median(found["ours"])
            ratios = fast.wall / slow.wall, fast.processor / slow.processor
            grid.rows.append(
                (timeframe.name, where, rounds, slow.wall, slow.processor, fast.wall, fast.processor, *ratios)
            )
            if ours:
                ours_on_cluster[timeframe.name], stock_on_cluster[timeframe.name] = fast, slow
        section.keep("check of", {timeframe.name: checked})
        check_cost = median(checked)
        checks.rows.append((timeframe.name, len(checked), check_cost.wall, check_cost.processor))
    section.grids += [grid, checks, schedule(stock_on_cluster, ours_on_cluster)]
    fast, slow = ours_on_cluster["1m"], stock_on_cluster["1m"]
    section.verdicts += [
        Verdict("1m on a cluster, processor time against stock", fast.processor / slow.processor, PROCESSOR_SHARE),
        Verdict("1m on a cluster, wall time against stock", fast.wall / slow.wall, WALL_SHARE),
        *(
            Verdict(
                f"{name} on a cluster, wall time against half its target",
                cost.wall,
                TARGET_SHARE * TIMEFRAMES[name].time_target.total_seconds(),
                " s",
            )
            for name, cost in ours_on_cluster.items()
        ),
    ]
    return section


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
