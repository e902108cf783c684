"""The command `airflow dags backfill`, which Airflow 3 removed and operators still use.

It creates the same backfill as `airflow backfill create`, but reads an end date without a time as that whole day, waits
for the runs and prints the progress.
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
    """Add the command to Airflow's own group `dags`, and return no further commands.

    Airflow rejects a second group of the same name and offers no way to extend one, so this changes the internal list
    `airflow_commands`. If a later version has no such list, the command is missing and nothing else breaks.
    """
    from airflow.cli import cli_parser

    groups = getattr(cli_parser, "airflow_commands", [])
    for index, group in enumerate(groups):
        if isinstance(group, GroupCommand) and group.name == "dags":
            others = [command for command in group.subcommands if command.name != COMMAND.name]
            groups[index] = group._replace(subcommands=[*others, COMMAND])
    return []


def parse_range(start: str, end: str) -> tuple[datetime, datetime]:
    """Return the first and the last time of a backfill, both inclusive. An end date without a time is a whole day."""
    first, last = _parse_time(start), _parse_time(end)
    if DATE_ONLY.fullmatch(end.strip()):
        last += timedelta(days=1) - timedelta(microseconds=1)
    if first > last:
        raise argparse.ArgumentTypeError(f"start {start} is after end {end}: swap them")
    return first, last


def _parse_time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        message = f"'{text}' is not an ISO date or time: write it like 2026-01-31 or 2026-01-31T10:00"
        raise argparse.ArgumentTypeError(message) from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def backfill(args: argparse.Namespace) -> None:
    """Create a backfill and wait for its runs."""
    from airflow.sdk.exceptions import AirflowException
    from airflow.utils.providers_configuration_loader import providers_configuration_loaded
    from sqlalchemy.exc import DBAPIError

    try:
        code = providers_configuration_loaded(_backfill)(args)
    except (AirflowException, argparse.ArgumentTypeError, ValueError) as error:
        _print(f"error: {' '.join(str(error).split())}")
        raise SystemExit(2) from None
    except DBAPIError as error:
        _print(f"error: {_database_error(error)}")
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        _print("stopped waiting; the backfill continues: pause or cancel it in the web UI")
        raise SystemExit(130) from None
    raise SystemExit(code)


def _database_error(error: Exception) -> str:
    """Return one line that names the database, the reason, and how to select another database."""
    from airflow.settings import engine

    reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    address = engine.url.render_as_string(hide_password=True) if engine is not None else "of this configuration"
    return (
        f"the Airflow database {address} cannot be used ({reason}): for the demo run 'eval \"$(.venv/bin/ohlcv env)\"' "
        "first, elsewhere set AIRFLOW_HOME or AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
    )


def _backfill(args: argparse.Namespace) -> int:
    from airflow.models.backfill import NoBackfillRunsToCreate, ReprocessBehavior, _create_backfill
    from airflow.utils.platform import getuser

    first, last = parse_range(args.start, args.end)
    behavior = ReprocessBehavior(args.reprocess_behavior)
    if args.dry_run:
        return _print_plan(args, first, last, behavior)
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
        _print(f"error: {args.dag_id} has no complete interval that starts between {first} and {last}: check the dates")
        return 1
    _print(f"backfill {created.id} of {args.dag_id} created: {first} to {last}")
    return 0 if args.no_wait else _wait(created.id)


def _print_plan(args: argparse.Namespace, first: datetime, last: datetime, behavior: Any) -> int:
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
    _print(f"dry run: {len(infos)} runs would be created")
    return 0


def _wait(backfill_id: int) -> int:
    """Print the progress whenever it changes until the backfill has ended. Return 1 if a run failed, else 0.

    The scheduler ends a backfill up to half a minute after its last run. Until then it refuses another one of the DAG.
    """
    printed = ""
    while True:
        states, paused, has_ended = _states(backfill_id)
        line = progress_line(states, paused)
        if line != printed:
            _print(line)
            printed = line
        if has_ended:
            return 1 if states["failed"] else 0
        time.sleep(POLL_SECONDS)


def progress_line(states: Counter[str], paused: bool) -> str:
    """Return the progress of a backfill from the number of its runs by state."""
    done = states["success"] + states["failed"] + states["skipped"]
    line = f"{done} of {sum(states.values())} runs done" + "".join(
        f", {count} {state}" for state, count in sorted(states.items()) if state != "success"
    )
    if states["skipped"]:
        line += " (their interval has a run: --reprocess-behavior completed repeats completed runs)"
    if paused:
        line += " (the DAG is paused: unpause it to start them)"
    return line


def _states(backfill_id: int) -> tuple[Counter[str], bool, bool]:
    """Return the number of runs by state, whether the DAG is paused, and whether the backfill has ended."""
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
        paused, completed_at = session.execute(
            select(DagModel.is_paused, Backfill.completed_at)
            .join(Backfill, Backfill.dag_id == DagModel.dag_id)
            .where(Backfill.id == backfill_id)
        ).one()
    # Airflow skips an interval whose run exists or is running elsewhere, and stores the reason.
    states = Counter("skipped" if reason else str(getattr(state, "value", state)) for reason, state in rows)
    return states, bool(paused), completed_at is not None


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


COMMAND = ActionCommand(
    name="backfill",
    help="Run a DAG for every interval that starts in a range, and wait for the runs",
    description=(
        "Run a DAG for every interval that starts between two dates, both inclusive. An end date without a time "
        "includes that whole day. Backfilled runs share the pool with scheduled runs, which have priority."
    ),
    func=backfill,
    args=(
        Arg(("dag_id",), help="DAG id, such as ohlcv_1m"),
        Arg(("-s", "--start-date"), dest="start", required=True, help="ISO date or time; UTC if it has no time zone"),
        Arg(
            ("-e", "--end-date"),
            dest="end",
            required=True,
            help="ISO date or time, inclusive; a date is that whole day",
        ),
        Arg(("-n", "--dry-run"), action="store_true", help="List the intervals that would run, and create nothing"),
        Arg(("--no-wait",), action="store_true", help="Return as soon as the backfill is created"),
        Arg(
            ("--reprocess-behavior",),
            choices=("none", "failed", "completed"),
            default="none",
            help="Which existing runs to run again (default none)",
        ),
        Arg(("--run-backwards",), action="store_true", help="Newest interval first"),
        Arg(("--max-active-runs",), type=int, default=1, help="Parallel runs (default 1; the pool has one slot)"),
    ),
)
