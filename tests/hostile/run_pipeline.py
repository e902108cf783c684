"""What becomes of a request for a run: Airflow's own checks, the tasks of the DAG, and the arguments of its jobs.

Everything that Airflow and the tasks do runs in this process, except the metadata database, Spark, and the reads of
trades.
"""

from __future__ import annotations

import copy
import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from airflow.api_fastapi.core_api.datamodels.dag_run import TriggerDAGRunPostBody
from airflow.dag_processing.dagbag import DagBag
from airflow.exceptions import ParamValidationError
from airflow.sdk.definitions.param import process_params
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from airflow.sdk.execution_time.context import set_current_context
from airflow.serialization.definitions import dag as serialized_dags
from airflow.serialization.serialized_objects import DagSerialization
from jsonschema import FormatChecker  # type: ignore[import-untyped]
from pydantic import ValidationError

from hostile.expected_runs import REFUSED
from hostile.run_requests import CANDLES, COVERAGE, FSCK, HEALTH, LEDGER, RECONCILE, REPROCESS, RETENTION, RunRequest
from ohlcv.config.settings import load_settings
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import Range, to_microseconds
from ohlcv.orchestration import ledger_tasks, retention_tasks
from spark_jobs.jobs import build_candles, reprocess_day, table_maintenance

# Longest error of a task.
MAX_ERROR = 500


class RefusedByJobError(Exception):
    """The script of a job has refused its arguments. Its task fails with the line, after retries."""


@contextmanager
def arguments_of_a_job() -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise RefusedByJobError(str(error)) from None


@dataclass
class Outcome:
    """What became of a request."""

    # What the run does, in the form of `expected_run`; REFUSED, or None if Airflow itself failed.
    result: Any
    stage: str
    message: str = ""
    interval_end: int | None = None
    run_after: int = 0
    problems: list[str] = field(default_factory=list)


class Pipeline:
    """The DAGs of the project."""

    def __init__(self, folder: str) -> None:
        found = DagBag(folder)
        assert not found.import_errors, found.import_errors
        self._dags = dict(found.dags)
        self._stored = {
            name: DagSerialization.from_dict(DagSerialization.to_dict(dag)) for name, dag in found.dags.items()
        }

    def run(self, request: RunRequest, now: str) -> Outcome:
        """Trigger a run at a time, and run its tasks unless it is refused."""
        try:
            run = self._trigger(request, now)
        except (ParamValidationError, ValidationError, ValueError) as error:
            return Outcome(REFUSED, "trigger", str(error))
        except (OverflowError, RecursionError) as error:
            # Airflow answers 500 and creates no run.
            return Outcome(None, "airflow", repr(error))
        interval = run.data_interval_end and to_microseconds(run.data_interval_end)
        outcome = Outcome(REFUSED, "task", "", interval, to_microseconds(run.run_after))
        try:
            outcome.result = self._run_tasks(request.dag_id, run)
            outcome.stage = "run"
        except (AirflowFailException, RefusedByJobError) as error:
            outcome.message = str(error)
            if not outcome.message or not outcome.message.isprintable() or len(outcome.message) > MAX_ERROR:
                outcome.problems.append(f"error line: {outcome.message[:1000]!r}")
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)[-3:]
            place = " > ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames)
            outcome.problems.append(f"traceback: {type(error).__name__}: {str(error)[:300]} ({place})")
        return outcome

    def _trigger(self, request: RunRequest, now: str) -> Any:
        """Return the run that Airflow creates for a request, as its API does."""
        given = json.loads(json.dumps({"run_after": now, **request.body}))
        body = TriggerDAGRunPostBody.model_validate(given)
        dag = self._stored[request.dag_id]
        values = body.validate_context(dag)
        with (
            # Only the development packages have it. Without it Airflow accepts any text as a time.
            patch.dict(FormatChecker.checkers),
            patch.object(serialized_dags, "_create_orm_dagrun", SimpleNamespace),
            patch.object(type(dag), "_process_dagrun_deadline_alerts"),
        ):
            FormatChecker.checkers.pop("date-time", None)
            names = ("run_id", "logical_date", "data_interval", "run_after", "conf")
            create: Any = dag.create_dagrun
            given = {name: values[name] for name in names}
            run = create(**given, run_type="manual", triggered_by=None, state="queued", session=SimpleNamespace())
        interval = run.data_interval
        return SimpleNamespace(
            dag_id=request.dag_id,
            run_id=run.run_id,
            run_type="manual",
            clear_number=0,
            conf=run.conf,
            # The tasks get it by way of JSON.
            run_after=datetime.fromisoformat(run.run_after.isoformat()),
            data_interval_end=interval and datetime.fromisoformat(interval.end.isoformat()),
        )

    def _run_tasks(self, dag_id: str, run: Any) -> Any:
        tasks = _Tasks(self._dags[dag_id], run)
        if dag_id in CANDLES:
            return _candle_run(tasks, dag_id.removeprefix("ohlcv_"))
        works = {
            REPROCESS: _reprocess_run,
            RETENTION: _retention_run,
            LEDGER: _ledger_run,
            RECONCILE: _reconcile_run,
            COVERAGE: _without_parameters,
            HEALTH: _without_parameters,
            FSCK: _fsck_run,
        }
        return works[dag_id](tasks)


class _Tasks:
    """The tasks of one run."""

    def __init__(self, dag: Any, run: Any) -> None:
        self.dag, self.run = dag, run
        self.xcoms: dict[str, Any] = {}
        instance = SimpleNamespace(xcom_pull=lambda task_ids: self.xcoms[task_ids], try_number=1)
        self.context: dict[str, Any] = {"dag": dag, "dag_run": run, "ti": instance}

    def begin(self, task_id: str, day: str = "") -> Any:
        """Return a task with rendered templates, after the checks that Airflow runs first."""
        task = self.dag.get_task(task_id)
        with patch.dict(FormatChecker.checkers):
            FormatChecker.checkers.pop("date-time", None)
            # A task process begins with the defaults. Here the parameters would keep the values of the last run.
            fresh: Any = SimpleNamespace(params=copy.deepcopy(self.dag.params))
            params = process_params(fresh, SimpleNamespace(params=None), self.run.conf, suppress_exception=False)  # type: ignore[arg-type]
        self.context["params"] = params
        prepared = task.prepare_for_execution()
        if hasattr(prepared, "application_args"):
            # Only a real run has the day of a mapped task, which is no text before.
            given = [each if isinstance(each, str) else day for each in prepared.application_args]
            prepared.__dict__["application_args"] = given
            prepared.render_template_fields(self.context, self.dag.get_template_env())
        prepared._pre_execute_hook(self.context)
        return prepared

    def arguments(self, task_id: str, day: str = "") -> list[str]:
        """Return the arguments of the script that a task submits."""
        task = self.begin(task_id, day)
        command: list[str] = task._get_hook()._build_spark_submit_command(task.application)
        return command[command.index(task.application) + 1 :]

    def call(self, task_id: str) -> Any:
        """Run the function of a task, and store its result."""
        task = self.begin(task_id)
        with set_current_context(self.context):  # type: ignore[arg-type]
            self.xcoms[task_id] = task.python_callable()
        return self.xcoms[task_id]

    def targets(self, task_id: str, day: str = "") -> Any:
        """Return what a task validates."""
        task = self.begin(task_id, day)
        return {timeframe.name: _span(span) for timeframe, span in task.resolve_targets(self.context, day)}


def _span(span: Range) -> list[int]:
    return [to_microseconds(span.start), to_microseconds(span.end)]


def _candle_run(tasks: _Tasks, timeframe: str) -> Any:
    arguments = tasks.arguments("aggregate")
    script = load_settings().timeframe(timeframe).script
    with arguments_of_a_job():
        request = build_candles.read_request(script, load_settings(), arguments)
    assert (request.timeframe.name, request.dag_id, request.run_id) == (
        timeframe,
        f"ohlcv_{timeframe}",
        tasks.run.run_id,
    )
    assert "--rebuild-pending yes" not in " ".join(arguments)
    span = _span(request.own_range)
    assert tasks.targets("validate") == {timeframe: span}
    return {"range": span, "prune": request.prune}


def _reprocess_run(tasks: _Tasks) -> Any:
    days = tasks.call("days")
    with arguments_of_a_job():
        requests = [
            reprocess_day.read_request(load_settings(), tasks.arguments("one_day.rebuild", day))
            for day in (days[0], days[-1])
        ]
    ranges = [{timeframe.name: _span(span) for timeframe, span in each.ranges.items()} for each in requests]
    flags = {name: getattr(requests[0], name) for name in ("prune", "dry_run", "new_source")}
    assert [each.day.isoformat() for each in requests] == [days[0], days[-1]]
    assert all((each.prune, each.dry_run, each.new_source) == tuple(flags.values()) for each in requests)
    for day, built in zip((days[0], days[-1]), ranges, strict=True):
        try:
            assert tasks.targets("one_day.validate", day) == built
        except AirflowSkipException:
            assert flags["dry_run"]
    first, last = (datetime.fromisoformat(day) for day in (days[0], days[-1]))
    assert len(days) == (last - first).days + 1 == len(set(days))
    return {"first": days[0], "days": len(days), "ranges": ranges, "flags": flags}


def _retention_run(tasks: _Tasks) -> Any:
    plans = {}
    stopped = set()
    error: AirflowFailException | None = None
    with patch.object(retention_tasks, "record_before_expiry", lambda *_: ""):
        for name in (*load_settings().timeframes, retention_tasks.RECORDS_GROUP):
            try:
                plan = tasks.call(f"{name}.plan")
            except AirflowSkipException:
                continue
            except AirflowFailException as failed:
                # The plan of the records runs after all others, also after a failure.
                error = failed
                continue
            stopped.add(plan is False)
            plans[name] = _maintained(tasks, name) if plan else tasks.context["params"]["as_of"]
    if error is not None:
        assert not plans, f"{plans} are maintained although {error}"
        raise error
    assert len(stopped) == 1
    dry_run = stopped.pop()
    if dry_run:
        due = tasks.run.run_after.astimezone(UTC).date().isoformat()
        plans = {name: as_of or due for name, as_of in plans.items()}
    return {"plans": plans, "dry_run": dry_run}


def _maintained(tasks: _Tasks, name: str) -> str:
    """Return the day from which the jobs after a plan compute the ages."""
    names = ("coverage", "revisions") if name == retention_tasks.RECORDS_GROUP else ("delete", "compact", "expire")
    days = set()
    for each in names:
        arguments = tasks.arguments(f"{name}.{each}")
        with arguments_of_a_job():
            request = table_maintenance.read_request(load_settings(), arguments)
        assert request.table.name == (name if name in load_settings().timeframes else each)
        assert not request.expired
        days.add(request.as_of.isoformat())
    [found] = days
    return str(found)


def _ledger_run(tasks: _Tasks) -> Any:
    recorded: list[str] = []

    def record(_: Any, names: list[str], __: Any) -> dict[str, str]:
        recorded.extend(names)
        return {}

    with patch.object(ledger_tasks, "record_timeframes", record):
        tasks.call("record")
    return {"timeframes": recorded}


def _reconcile_run(tasks: _Tasks) -> Any:
    ages: list[timedelta] = []

    def reconcile(_: Any, __: Any, ___: Any, since: datetime, now: datetime, **____: Any) -> Any:
        ages.append(now - since)
        return SimpleNamespace(reconciliations={}, errors={})

    with patch("ohlcv.reconciliation.folder.reconcile_folder", reconcile):
        tasks.call("reconcile")
    return {"days": ages[0] / timedelta(days=1)}


def _fsck_run(tasks: _Tasks) -> Any:
    checked: list[Any] = []

    def check(_: Any, tables: list[Any], since: datetime | None, __: Any) -> tuple[()]:
        checked.append((tables, since))
        return ()

    with patch("ohlcv.integrity.check.check_tables", check):
        tasks.call("fsck")
    [(tables, since)] = checked
    return {
        "timeframes": sorted(each.subject for each in tables if each.role == "candles"),
        **{role: any(each.role == role for each in tables) for role in ("trades", "records")},
        "since": None if since is None else to_microseconds(since),
    }


def _without_parameters(tasks: _Tasks) -> Any:
    tasks.begin("look" if tasks.dag.dag_id == HEALTH else "record")
    return {}
