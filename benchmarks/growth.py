"""What grows with the tables: a 1m run with a longer past, more snapshots, more series, more late trades.

Candles of the past are made up; trades are few an hour, but in a file for every hour; days more than a month old, and
snapshots, are the metadata that as many days and commits leave, in the trades' table and in the candles'. The run is
the scheduled one, on a cluster of one core: it finds the trades of the last five minutes new, and the hour they lie in
changed.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.contest import Contest
from benchmarks.harness import Bench, Cost, Grid, Section, Verdict, median, take_turns
from benchmarks.worlds import World, made_up_candles, with_series
from ohlcv.ingest.sample_data import Feed
from ohlcv.model import summary_keys
from ohlcv.model.build_planner import SourceCheckpoint
from ohlcv.model.intervals import HOUR, MICROSECOND, Range
from ohlcv.model.source_hours import parse_hours
from ohlcv.model.timeframes import DAY
from spark_jobs.iceberg.partial_overwrite import MAX_SINGLE_FILE_ROWS

END = datetime(2026, 3, 2, tzinfo=UTC)
LATEST = timedelta(minutes=5)
OLD_TRADES_PER_HOUR = 16
# Of eight series; copies under other symbols have as many each.
TRADES_IN_THE_LAST_HOUR = 4_800
FEW_DAYS, FEW_SNAPSHOTS, FEW_SERIES = 1, 10, 8
# Late trades are looked for in a month of the past.
LATE_DAYS = 30
LATE_HOURS = (1, 24, 240)
MOST_GROWTH, MANY_SERIES_SECONDS = 1.15, 20.0


def grown_world(
    bench: Bench, name: str, days: int = FEW_DAYS, snapshots: int = FEW_SNAPSHOTS, series: int = FEW_SERIES
) -> Contest:
    """Make tables of a size, and the run that is due at their end."""
    world = World(bench.room("growth") / name)
    timeframe = world.timeframe("1m")
    own_days = min(days, LATE_DAYS)
    begin, before = END - own_days * DAY, days - own_days
    past = Feed(begin)
    hours = own_days * (DAY // HOUR) - 1
    world.append(past.batch(END - HOUR, hours * OLD_TRADES_PER_HOUR), days_before=before)
    last = with_series(past.batch(END - LATEST, TRADES_IN_THE_LAST_HOUR), series)
    seen = world.append(last)
    candles = made_up_candles(world.table("1m"), Range(begin, END - LATEST), timeframe, last)
    told = SourceCheckpoint(seen, int(END.timestamp() * 1000))
    # As the last run would have left them: of many a day, what has settled in files of its own, and a commit that says
    # how far it looked.
    *settled, rest = _as_runs_leave_them(candles)
    for part in settled:
        world.append(part, "1m")
    world.append(rest, "1m", {summary_keys.CHECKPOINT: told.to_text()}, before)
    for table in (None, "1m"):
        world.lengthen_history(table, snapshots)
    world.append(with_series(past.batch(END, TRADES_IN_THE_LAST_HOUR // 12), series))
    return Contest(world, timeframe, Range(END - timeframe.lookback, END))


def _as_runs_leave_them(candles: pa.Table) -> list[pa.Table]:
    """Cut the candles of a large day into parts of whole hours: a file each (partial_overwrite.py)."""
    starts = pc.cast(candles["window_start"], pa.int64()).to_numpy()
    hours = starts // (HOUR // MICROSECOND)
    first, last = hours.min(), hours.max()
    if last - first >= 24 or len(candles) <= MAX_SINGLE_FILE_ROWS:
        return [candles]
    step = int(np.ceil(MAX_SINGLE_FILE_ROWS / (len(candles) / (last + 1 - first))))
    parts = [(hours >= begin) & (hours < begin + step) for begin in range(first, last + 1, step)]
    return [candles.filter(pa.array(part)) for part in parts]


def late(contest: Contest, hours: int) -> Contest:
    """Let trades of so many old hours come late."""
    contest.world.put_back(contest.start)
    old = Feed(END - hours * HOUR - HOUR, seed=hours)
    contest.world.append(old.batch(END - HOUR, hours * OLD_TRADES_PER_HOUR // 2))
    return Contest(contest.world, contest.timeframe, contest.span)


def measure(bench: Bench) -> Section:
    """Measure every way to grow."""
    section = Section("growth")
    many_days, many_snapshots, many_series = (20, 100, 80) if bench.quick else (400, 5_000, 1_000)
    base = grown_world(bench, "base")
    month = grown_world(bench, "month", days=LATE_DAYS)
    smallest = f"{FEW_DAYS} day, {FEW_SNAPSHOTS} snapshots, {FEW_SERIES} series"
    days, snapshots, series = f"{many_days} days", f"{many_snapshots:,} snapshots", f"{many_series:,} series"
    in_turns = {
        smallest: base,
        days: grown_world(bench, "days", days=many_days),
        snapshots: grown_world(bench, "snapshots", snapshots=many_snapshots),
    }
    found = _runs(bench, in_turns, bench.repeats)
    once = {
        series: grown_world(bench, "series", series=many_series),
        "100 series": grown_world(bench, "hundred", series=100),
        f"{LATE_DAYS} days": month,
    }
    found |= _runs(bench, once, 1)
    repaired: dict[str, str] = {}
    for hours in LATE_HOURS:
        contest = late(month, hours)
        name = f"{LATE_DAYS} days, late trades in {hours} old hours"
        found |= _runs(bench, {name: contest}, 1)
        repaired[name] = contest.told[summary_keys.REBUILT_PENDING_HOURS]
    section.keep("1m", found)
    small = median(found[smallest])
    grid = Grid(
        "A 1m run on a cluster, as its tables grow",
        ("tables", "runs", "wall s", "cpu s", "wall ratio", "cpu ratio", "hours repaired"),
    )
    for name, costs in found.items():
        cost = median(costs)
        ratios = cost.wall / small.wall, cost.processor / small.processor
        count = len(parse_hours(repaired[name])) if name in repaired else None
        grid.rows.append((name, len(costs), cost.wall, cost.processor, *ratios, count))
    section.grids.append(grid)
    section.notes.append("Rows of one run were measured after the others, not in turns with them.")
    section.verdicts += [
        *(
            Verdict(f"{name}, wall time of a 1m run", median(found[name]).wall / small.wall, MOST_GROWTH)
            for name in (days, snapshots)
        ),
        Verdict(f"{series}, wall time of a 1m run", median(found[series]).wall, MANY_SERIES_SECONDS, " s"),
    ]
    return section


def _runs(bench: Bench, contests: dict[str, Contest], rounds: int) -> dict[str, list[Cost]]:
    turns = {name: partial(contest.measure, contest.job(), bench.cluster) for name, contest in contests.items()}
    return take_turns(turns, rounds, "1m,")
