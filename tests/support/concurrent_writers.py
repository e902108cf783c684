"""Writers of one candle table that run at the same time, and the record of what they did."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table
from pyspark.sql import SparkSession

from ohlcv.iceberg.snapshot_summary import main_snapshots
from ohlcv.model import summary_keys
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import Range, day_range, to_microseconds
from ohlcv.model.source_hours import hour_number, parse_hours
from ohlcv.spark.spark_submit import build_job
from spark_jobs.jobs.reprocess_day import DayRequest, reprocess
from support.candle_rows import MINUTE, candle, candle_file
from support.harness import Harness, append, candles_of, trade
from support.maintenance import run_maintenance
from support.operation_history import Effect, Operation, Rows, State
from support.processes import running_job
from support.reference_model import Candle, Trade, partition_hour, reference_candles
from support.stopping_process import StopPoint, kill_at_point, started

MINUTE_US, HOUR_US = 60_000_000, 3_600_000_000
FIRST_DAY = datetime.fromisoformat("2026-03-01T00:00+00:00")
DAYS = 3
END = FIRST_DAY + timedelta(days=DAYS)
# Trades are in the first hours of each day. Candles of other writers are also in an hour without trades.
TRADE_HOURS = 3
QUIET_HOUR = 12
SYMBOLS = ("BTC-USD", "ETH-USD")
FOREIGN = "FOREIGN"
ATTEMPTS = 5
STALE_SEQUENCE = "Cannot add snapshot with sequence number"
# The longest pause at a point between two steps of a job.
PAUSE_SECONDS = 3.0

KILLED_APPEND = """
from ohlcv.config.settings import load_settings
from ohlcv.iceberg.tables import load_table, open_catalog
property_name, name, file = arguments
settings = load_settings()
table = load_table(open_catalog(settings), settings.candles_contract(settings.timeframe("1m")))
table.add_files([file], snapshot_properties={property_name: name}, check_duplicate_files=False)
"""


class Recorder:
    """The operations of all writers, in the order of one clock."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.operations: list[Operation] = []
        # Trades by the name of the load that appended them.
        self.loads: dict[str, list[Trade]] = {}

    def record(self, operation: Operation) -> None:
        with self._changed:
            self.operations.append(operation)
            self._changed.notify_all()

    def await_another(self, seconds: float) -> None:
        """Wait until any operation ends, at most that long."""
        with self._changed:
            count = len(self.operations)
            self._changed.wait_for(lambda: len(self.operations) > count, seconds)


@dataclass
class Result:
    """What an operation reports."""

    steps: tuple[Effect, ...] = ()
    repeats: bool = False
    observed: Rows | None = None
    # The trades snapshot of a build. Its effect depends on the trades of that snapshot, which are known at the end.
    trades_snapshot: int | None = None
    ranges: list[tuple[int, int]] = field(default_factory=list)
    outcome: Literal["ok", "unknown"] = "ok"


Work = Callable[["Writer", str], Result]


class Writer:
    """One of the concurrent writers, with a Spark session of its own. Create it in its thread."""

    def __init__(self, spark: SparkSession, home: Path, environment: Mapping[str, str], recorder: Recorder) -> None:
        self.home, self.recorder = home, recorder
        self.harness = Harness(spark, home, environment)

    def run(self, name: str, kind: str, work: Work | None = None) -> None:
        """Run an operation and record it. What it chooses at random depends on its name only."""
        invoked, result, message = time.monotonic_ns(), Result(), ""
        outcome: Literal["ok", "failed", "unknown"] = "failed"
        try:
            result = (work or KINDS[kind])(self, name)
            outcome = result.outcome
        except (OhlcvError, CommitFailedException, ValueError) as error:
            message = str(error)
            # pyiceberg raises ValueError if a run has written a candidate since it read the table.
            if "may or may not" in message or (isinstance(error, ValueError) and STALE_SEQUENCE not in message):
                raise
        returned = None if outcome == "unknown" else time.monotonic_ns()
        operation = Operation(
            name, kind, invoked, returned, outcome, message, result.steps, result.repeats, result.observed
        )
        if result.ranges:
            # The effect and the bounds are added when the order of the trades is known.
            operation = replace(operation, steps=(_Build(result.ranges, result.trades_snapshot),))
        self.recorder.record(operation)


@dataclass(frozen=True)
class _Build:
    """The effect of a build, without its trades."""

    ranges: list[tuple[int, int]]
    snapshot: int | None

    def __call__(self, rows: Rows) -> Rows:
        raise AssertionError("the trades are not known")


def build_effect(trades: Iterable[Trade], ranges: list[tuple[int, int]]) -> Effect:
    """Return the effect of a build of these ranges, in microseconds, from these trades."""
    known = list(trades)
    built = reference_candles(known, MINUTE_US, ranges).candles
    hours = {partition_hour(each) for each in known}

    def effect(rows: Rows) -> Rows:
        new: Rows = Counter(built.values())
        for stored, count in rows.items():
            key = (stored.symbol, stored.exchange, stored.window_start_us)
            is_rebuilt = any(start <= stored.window_start_us < end for start, end in ranges)
            # Candles of an hour without any trades are preserved.
            if not is_rebuilt or (stored.window_start_us // HOUR_US not in hours and key not in built):
                new[stored] += count
        return new

    return effect


def build_all(writer: Writer, name: str) -> Result:
    """Build all days."""
    return _built(writer.harness.build("1m", FIRST_DAY, END, run_id=name), Range(FIRST_DAY, END))


def _random(name: str) -> random.Random:
    return random.Random(name)


def _span(name: str) -> Range:
    """Return a range of some hours, which may extend over the end of a day."""
    chosen = _random(name)
    start = FIRST_DAY + timedelta(days=chosen.randrange(DAYS), hours=chosen.randrange(TRADE_HOURS))
    return Range(start, min(END, start + timedelta(hours=chosen.choice((1, 2, 14, 25)))))


def _day(name: str) -> date:
    return (FIRST_DAY + timedelta(days=_random(name).randrange(DAYS))).date()


def _microseconds(span: Range) -> tuple[int, int]:
    return to_microseconds(span.start), to_microseconds(span.end)


def _built(report: Mapping[str, Any], span: Range) -> Result:
    """Return the result of a build, from its report."""
    own = set(range(hour_number(span.start), hour_number(span.end)))
    hours = own - parse_hours(report["unchanged_hours"]) | parse_hours(report["repaired_hours"])
    ranges = [(hour * HOUR_US, (hour + 1) * HOUR_US) for hour in sorted(hours)]
    # A run that has nothing to build publishes nothing.
    return Result(trades_snapshot=report["trades_snapshot"], ranges=ranges, steps=(lambda rows: rows,))


def build(writer: Writer, name: str) -> Result:
    span = _span(name)
    return _built(writer.harness.build("1m", span.start, span.end, run_id=name), span)


def scheduled_run(writer: Writer, name: str) -> Result:
    span = _span(name)
    return _built(writer.harness.build("1m", span.start, span.end, rebuild_pending=True, run_id=name), span)


def submitted_run(writer: Writer, name: str) -> Result:
    """Run a job in processes of its own."""
    span = _span(name)
    job = build_job(writer.harness.settings, "1m", span, rebuild_pending=True, run_id=name)
    with running_job(job, "local[1]") as running:
        code = running.wait()
        if code:
            raise OhlcvError(running.log.strip().splitlines()[-1])
        return _built(json.loads(running.output.splitlines()[-1]), span)


def reprocess_one_day(writer: Writer, name: str) -> Result:
    span = day_range(_day(name))
    request = DayRequest(span.start.date(), {MINUTE: span}, run_id=name)
    [report] = reprocess(writer.harness.spark, writer.harness.settings, request)["timeframes"]
    return _built(report, span)


def delete_expired(writer: Writer, name: str) -> Result:
    """Delete the first day, as retention does."""
    _maintain(writer, name, "delete", days=(FIRST_DAY.date(),))
    return Result((without_day(FIRST_DAY.date()),))


def compact(writer: Writer, name: str) -> Result:
    _maintain(writer, name, "compact")
    return Result((lambda rows: rows,), repeats=True)


def expire(writer: Writer, name: str) -> Result:
    _maintain(writer, name, "expire")
    return Result((lambda rows: rows,))


def _maintain(writer: Writer, name: str, step: str, days: tuple[date, ...] = ()) -> None:
    run_maintenance(writer.harness, "1m", step, as_of=END.date(), days=days, run_id=name)


def without_day(day: date) -> Effect:
    start, end = _microseconds(day_range(day))
    return lambda rows: Counter({each: n for each, n in rows.items() if not start <= each.window_start_us < end})


def adding(*candles: Candle) -> Effect:
    return lambda rows: rows + Counter(candles)


def _foreign_file(writer: Writer, name: str, day: date) -> tuple[str, list[Candle]]:
    """Write a file with candles that the jobs do not compute: in an hour with trades, and in one without."""
    begin = day_range(day).start
    rows = [candle(MINUTE, begin + timedelta(hours=hour), symbol=f"{FOREIGN}-{name}") for hour in (0, QUIET_HOUR)]
    return candle_file(writer.harness.settings, MINUTE, rows), candles_of(rows)


def append_foreign(writer: Writer, name: str) -> Result:
    file, candles = _foreign_file(writer, name, _day(name))
    table = writer.harness.table("1m")
    table.add_files([file], snapshot_properties={summary_keys.RUN_ID: name}, check_duplicate_files=False)
    return Result((adding(*candles),))


def killed_append(writer: Writer, name: str) -> Result:
    """Append in a process that is killed before or after its commit."""
    file, candles = _foreign_file(writer, name, _day(name))
    moment: Literal["before", "after"] = _random(name).choice(("before", "after"))
    point = StopPoint("pyiceberg.catalog.sql.SqlCatalog.commit_table", moment)
    marker = writer.home / f"{name}.marker"
    with started(KILLED_APPEND, [summary_keys.RUN_ID, name, file], point, marker) as process:
        kill_at_point(process, marker)
    return Result((adding(*candles),), outcome="unknown")


def delete_foreign(writer: Writer, name: str) -> Result:
    day = FIRST_DAY.date()
    table = writer.harness.table("1m")
    table.delete(f"window_date = '{day}'", snapshot_properties={summary_keys.RUN_ID: name})
    return Result((without_day(day),))


def overwrite_foreign(writer: Writer, name: str) -> Result:
    """Replace a day in one commit, which has a snapshot for the deletion and one for the new rows."""
    day, properties = FIRST_DAY.date(), {summary_keys.RUN_ID: name}
    file, candles = _foreign_file(writer, name, day)
    with writer.harness.table("1m").transaction() as transaction:
        transaction.delete(f"window_date = '{day}'", snapshot_properties=properties)
        transaction.add_files([file], snapshot_properties=properties, check_duplicate_files=False)
    return Result((without_day(day), adding(*candles)))


def read(writer: Writer, name: str) -> Result:
    return Result(observed=read_rows(writer.harness.table("1m")))


def load(writer: Writer, name: str) -> Result:
    """Append trades to all hours of a day or to a single one."""
    chosen = _random(name)
    begin = FIRST_DAY + timedelta(days=chosen.randrange(DAYS))
    hours = range(TRADE_HOURS) if chosen.random() < 0.5 else (chosen.randrange(TRADE_HOURS),)
    trades = [
        trade(
            begin + timedelta(hours=hour, seconds=chosen.randrange(3600)),
            f"{chosen.randrange(90, 110)}.{chosen.randrange(100)}",
            f"{chosen.randrange(1, 9)}",
            symbol=symbol,
            trade_id=f"{name}-{symbol}-{hour}-{number}",
        )
        for hour in hours
        for symbol in SYMBOLS
        for number in range(4)
    ]
    writer.recorder.loads[name] = trades
    append_trades(writer.harness, name, trades)
    return Result()


def append_trades(harness: Harness, name: str, trades: list[Trade]) -> None:
    """Append trades, also while others append."""
    for attempt in range(ATTEMPTS):
        try:
            append(harness.table(), trades, {summary_keys.RUN_ID: name})
        except CommitFailedException:
            if attempt == ATTEMPTS - 1:
                raise
        else:
            return


KINDS: dict[str, Work] = {
    "build": build,
    "scheduled run": scheduled_run,
    "submitted run": submitted_run,
    "reprocessing": reprocess_one_day,
    "retention": delete_expired,
    "compaction": compact,
    "expiry": expire,
    "foreign append": append_foreign,
    "killed foreign append": killed_append,
    "foreign delete": delete_foreign,
    "foreign overwrite": overwrite_foreign,
    "read": read,
    "load": load,
}


def read_rows(table: Table, snapshot: int | None = None) -> Rows:
    """Return the rows of a table, by default of its current snapshot."""
    return Counter(candles_of(table.scan(snapshot_id=snapshot).to_arrow().to_pylist()))


def states_of(table: Table) -> list[State]:
    """Return the states of a table after each published snapshot, with the empty table as the first one."""
    states = [State(0, None, Counter())]
    for snapshot in reversed(list(main_snapshots(table))):
        summary = snapshot.summary.additional_properties if snapshot.summary is not None else {}
        rows = read_rows(table, snapshot.snapshot_id)
        states.append(State(snapshot.snapshot_id, summary.get(summary_keys.RUN_ID), rows))
    return states


def with_trades(operations: list[Operation], trades_table: Table, loads: Mapping[str, list[Trade]]) -> list[Operation]:
    """Return the operations on the candle table, with the effects and the bounds of those that read trades."""
    positions: dict[int | None, int] = {None: 0}
    order: dict[str, int] = {}
    known: list[list[Trade]] = [[]]
    for position, snapshot in enumerate(reversed(list(main_snapshots(trades_table))), 1):
        assert snapshot.summary is not None
        name = str(snapshot.summary.additional_properties[summary_keys.RUN_ID])
        positions[snapshot.snapshot_id], order[name] = position, position
        known.append(known[-1] + loads[name])
    by_name = {each.name: each for each in operations}
    completed: list[Operation] = []
    for operation in operations:
        if operation.kind == "load":
            assert (operation.outcome == "ok") == (operation.name in order), operation
            continue
        if not operation.steps or not isinstance(build := operation.steps[0], _Build):
            completed.append(operation)
            continue
        assert operation.returned is not None
        used = positions[build.snapshot]
        before = [at for name, at in order.items() if (by_name[name].returned or 0) < operation.invoked]
        later = [at for name, at in order.items() if by_name[name].invoked > operation.returned]
        bounds = (used, max(before, default=0), min(later, default=len(known)) - 1)
        effect = build_effect(known[used], build.ranges)
        completed.append(replace(operation, steps=(effect,), trades=bounds))
    return completed
