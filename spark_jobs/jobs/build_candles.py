"""Candle build for one timeframe and range: plan, rebuild, audit, publish once. Both build scripts call `main`."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from pyspark.sql import SparkSession

from ohlcv.config.settings import Settings
from ohlcv.iceberg.write_lock import write_lock
from ohlcv.model.build_planner import plan_build
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import Range, parse_time, requested_range
from spark_jobs.iceberg.table_metadata import read_decisions
from spark_jobs.iceberg.trades_history import TableHistory
from spark_jobs.jobs.publication import publish, start_audit
from spark_jobs.jobs.rebuild import Request, Target, read_source, rebuild
from spark_jobs.runtime.execution import Execution, run_on_engine
from spark_jobs.runtime.job_runner import Job, PhaseTimer, retry_after_conflicts, run_job
from spark_jobs.runtime.session import code_generation_for

# To find changed hours in files with several hours, a run reads up to this many rows for each trade of its budget. That
# takes seconds; the alternative is to build all hours of the files again, in many runs.
DIGESTED_ROWS_PER_TRADE = 100


def build(spark: SparkSession, settings: Settings, request: Request) -> dict[str, Any]:
    """Build the candles of one timeframe and range and return the report."""

    def work(execution: Execution) -> dict[str, Any]:
        return retry_after_conflicts(lambda: _build_once(spark, settings, request, execution))

    return run_on_engine(spark, settings, settings.tuning[request.timeframe.name], work)


def _build_once(spark: SparkSession, settings: Settings, request: Request, execution: Execution) -> dict[str, Any]:
    timeframe = request.timeframe
    timer = PhaseTimer()
    with ExitStack() as stack:
        with timer.phase("lease"):
            assert_lock_held = stack.enter_context(write_lock(settings, settings.candles_contract(timeframe)))
        with timer.phase("plan"):
            target = Target.load(spark, settings, timeframe, assert_lock_held)
            # Loaded with the lock held: an earlier snapshot could be older than the one another writer used.
            trade_budget = settings.trade_budget(timeframe.name)
            history = TableHistory(
                spark,
                settings,
                row_budget=trade_budget * DIGESTED_ROWS_PER_TRADE,
                with_side=target.is_extended,
            )
            plan = plan_build(
                timeframe,
                request.own_range,
                history,
                target.checkpoint,
                rebuild_pending=request.rebuild_pending,
                trade_budget=trade_budget,
                prune=request.prune,
                new_source=request.new_source,
                decisions=read_decisions(target.table),
            )
            plan = replace(plan, notes=[*history.notes, *plan.notes])
            audit = stack.enter_context(
                start_audit(settings, [timeframe], plan.ranges, history, measures=target.is_extended)
            )
            stack.enter_context(code_generation_for(spark, sum(history.trades_in(plan.hours).values())))
        with timer.phase("survey"):
            source = stack.enter_context(
                read_source(spark, history, [timeframe], plan.ranges, execution, measures=target.is_extended)
            )
        with timer.phase("compute"):
            report = rebuild(source, target, plan, request)
        result = publish(report, settings, audit, timer)
        report.comparison.release()
    return {**result, "execution": source.execution.to_json(), "seconds": timer.finish()}


def arg_parser() -> argparse.ArgumentParser:
    """Return the parser of the job arguments."""
    parser = argparse.ArgumentParser(description="Build the candles of one timeframe.")
    parser.add_argument("--timeframe", required=True)
    parser.add_argument("--start", required=True, help="first window's start, ISO time in UTC")
    parser.add_argument("--end", required=True, help="end of the last window, ISO time in UTC")
    # Values yes/no instead of flags: a template can insert a value but cannot omit an argument.
    for name, text in (
        ("rebuild-pending", "also rebuild older hours whose trades changed"),
        ("prune", "delete candles even where the source hour is empty"),
        ("new-source", "accept that the trades table or its mapping changed"),
    ):
        parser.add_argument(f"--{name}", choices=("yes", "no"), default="no", help=text)
    parser.add_argument("--dag-id", default="", help="recorded in the commit")
    parser.add_argument("--run-id", default="", help="recorded in the commit")
    return parser


def read_request(script: str, settings: Settings, arguments: list[str]) -> Request:
    """Return the request, checked before Spark starts."""
    values = arg_parser().parse_args(arguments)
    timeframe = settings.timeframe(values.timeframe)
    if timeframe.script != script:
        raise InputError(f"{timeframe} candles are built by {timeframe.script}, not by {script}: start that script")
    start, end = (parse_time(text)[0] for text in (values.start, values.end))
    own_range = requested_range(timeframe, start, end, known_until=end)
    if own_range != Range(start, end):
        raise InputError(f"{start} to {end} are not whole {timeframe} windows: use {own_range}")
    return Request(
        timeframe=timeframe,
        own_range=own_range,
        rebuild_pending=values.rebuild_pending == "yes",
        prune=values.prune == "yes",
        new_source=values.new_source == "yes",
        dag_id=values.dag_id,
        run_id=values.run_id,
    )


def main(script: str) -> int:
    """Run the job script of that file name and return its exit code."""

    def job(settings: Settings) -> tuple[str, Job]:
        request = read_request(script, settings, sys.argv[1:])
        name = f"ohlcv {request.timeframe} {request.run_id or request.own_range}"
        return name, lambda spark: build(spark, settings, request)

    return run_job(job)
