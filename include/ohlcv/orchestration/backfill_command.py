"""`airflow dags backfill`: Airflow 3 removed it, and operators' fingers still know it.

It creates the same backfill as `airflow backfill create`, takes a bare end date as the whole of that day, waits,
and tells how far it is.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.cli.cli_config import ActionCommand, Arg, CLICommand, GroupCommand

POLL_SECONDS = 2.0
DATE_ONLY = re.compile(r"\d{4}-\d{2}-\d{2}")


def get_cli_commands() -> list[CLICommand]:
    """Put the command into Airflow's own `dags` group.

    A second group of that name would be a conflict, and there is no official way to extend one: the list is
    internal to Airflow. Where it looks different one day, the command is not there and nothing else breaks.
    """
    from airflow.cli import cli_parser

    groups = getattr(cli_parser, "airflow_commands", [])
    for index, group in enumerate(groups):
        if isinstance(group, GroupCommand) and group.name == "dags":
            known = [command for command in group.subcommands if command.name != COMMAND.name]
            groups[index] = group._replace(subcommands=[*known, COMMAND])
    return []


def bounds(start: str, end: str) -> tuple[datetime, datetime]:
    """Read the two ends, both inclusive; a bare end date includes that whole day."""
    first, last = _time(start), _time(end)
    if DATE_ONLY.fullmatch(end.strip()):
        last += timedelta(days=1) - timedelta(microseconds=1)
    if first > last:
        raise argparse.ArgumentTypeError(f"start {start} is after end {end}")
    return first, last


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not an ISO date or time such as 2026-01-31") from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def backfill(args: argparse.Namespace) -> None:
    """Create a backfill, and wait for it."""
    from airflow.sdk.exceptions import AirflowException
    from airflow.utils.providers_configuration_loader import providers_configuration_loaded

    try:
        code = providers_configuration_loaded(_backfill)(args)
    except (AirflowException, argparse.ArgumentTypeError, ValueError) as error:
        _say(f"error: {' '.join(str(error).split())}")
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        _say("no longer waiting: the backfill goes on; pause or cancel it in the web UI")
        raise SystemExit(130) from None
    raise SystemExit(code)


def _backfill(args: argparse.Namespace) -> int:
    from airflow.models.backfill import NoBackfillRunsToCreate, ReprocessBehavior, _create_backfill
    from airflow.utils.platform import getuser

    first, last = bounds(args.start, args.end)
    behavior = ReprocessBehavior(args.reprocess_behavior)
    if args.dry_run:
        return _show_plan(args, first, last, behavior)
    try:
        created = _create_backfill(
            dag_id=args.dag_id,
            from_date=first,
            to_date=last,
            max_active_runs=args.max_active_runs,
            reverse=args.run_backwards,
            dag_run_conf=None,
            triggering_user_name=getuser(),
            reprocess_behavior=behavior,
            run_on_latest_version=True,
        )
    except NoBackfillRunsToCreate:
        _say(f"error: {args.dag_id} has no finished interval that starts between {first} and {last}")
        return 1
    _say(f"backfill {created.id} of {args.dag_id} created: {first} to {last}")
    return 0 if args.no_wait else _wait(created.id)


def _show_plan(args: argparse.Namespace, first: datetime, last: datetime, behavior: Any) -> int:
    from airflow.models.backfill import _do_dry_run
    from airflow.utils.session import create_session

    with create_session() as session:
        infos = list(
            _do_dry_run(
                dag_id=args.dag_id,
                from_date=first,
                to_date=last,
                reverse=args.run_backwards,
                reprocess_behavior=behavior,
                session=session,
            )
        )
    for info in infos:
        if info.data_interval is not None:
            print(f"{info.data_interval.start.isoformat()} .. {info.data_interval.end.isoformat()}")
    _say(f"{len(infos)} runs would be started; nothing was")
    return 0


def _wait(backfill_id: int) -> int:
    """Tell of every change until no run is left; 1 where one failed."""
    shown = ""
    while True:
        states, paused = _states(backfill_id)
        total = sum(states.values())
        done = states["success"] + states["failed"] + states["skipped"]
        line = f"{done} of {total} runs done" + "".join(
            f", {count} {state}" for state, count in sorted(states.items()) if state != "success"
        )
        if paused:
            line += " (the DAG is paused: unpause it and they start)"
        if line != shown:
            _say(line)
            shown = line
        if done == total:
            return 1 if states["failed"] else 0
        time.sleep(POLL_SECONDS)


def _states(backfill_id: int) -> tuple[Counter[str], bool]:
    from airflow.models import DagModel
    from airflow.models.backfill import Backfill, BackfillDagRun
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        rows = session.execute(
            select(BackfillDagRun.exception_reason, DagRun.state)
            .outerjoin(DagRun, BackfillDagRun.dag_run_id == DagRun.id)
            .where(BackfillDagRun.backfill_id == backfill_id)
        ).all()
        paused = session.scalar(
            select(DagModel.is_paused)
            .join(Backfill, Backfill.dag_id == DagModel.dag_id)
            .where(Backfill.id == backfill_id)
        )
    # A run that exists already, or is under way elsewhere, is passed over with a reason.
    return Counter("skipped" if reason else str(getattr(state, "value", state)) for reason, state in rows), bool(paused)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


COMMAND = ActionCommand(
    name="backfill",
    help="Run a DAG for every interval that starts in a range, and wait",
    description=(
        "Run a DAG for every interval that starts between two dates, both included; a bare end date includes that "
        "whole day. Backfilled runs share the pool with the schedule, which goes first."
    ),
    func=backfill,
    args=(
        Arg(("dag_id",), help="The DAG, as in ohlcv_1m"),
        Arg(("-s", "--start-date"), dest="start", required=True, help="ISO date or time; without a zone it is UTC"),
        Arg(("-e", "--end-date"), dest="end", required=True, help="ISO date or time, included; a date means all of it"),
        Arg(("-n", "--dry-run"), action="store_true", help="Only list the intervals that would run"),
        Arg(("--no-wait",), action="store_true", help="Return when the backfill is created"),
        Arg(
            ("--reprocess-behavior",),
            choices=("none", "failed", "completed"),
            default="none",
            help="Which runs that exist already are run again (default none)",
        ),
        Arg(("--run-backwards",), action="store_true", help="Newest interval first"),
        Arg(("--max-active-runs",), type=int, default=1, help="Runs at a time (default 1; the pool has one slot)"),
    ),
)
