"""Golden files: the rendered spark-submit command of every Spark task, for a run of each type.

`make golden` writes them again.
"""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ohlcv.model.intervals import scheduled_range
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES, TIMEFRAMES
from ohlcv.spark.jars import jar_paths
from ohlcv.spark.spark_submit import build_job, profile_path, script_folder
from ohlcv.spark.toolchain import archive_path, spark_home

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
MASTER = "spark://spark-master:7077"
INTERVAL_END = datetime(2026, 3, 1, 12, 5, tzinfo=UTC)
RUN_TYPES = ("scheduled", "backfill", "manual")
REPROCESS, RETENTION = "ohlcv_reprocess", "ohlcv_retention"
MAPPED_DAY = "2026-02-28"


def dag_run(run_type: str, *, clear_number: int = 0, interval: bool = True) -> SimpleNamespace:
    return SimpleNamespace(
        dag_id="DAG",
        run_id=f"{run_type}__2026-03-01T12:00:00+00:00",
        run_type=run_type,
        clear_number=clear_number,
        data_interval_end=INTERVAL_END if interval else None,
        run_after=INTERVAL_END + timedelta(seconds=7),
    )


# XComs of the plan tasks that the tasks after them read.
PLANS = {
    "1m.plan": {
        "as_of": "2026-03-01",
        "days": ["2025-11-28", "2025-11-29"],
        "keep_since": "2026-02-28T12:00:00.123000Z",
    },
    "records.plan": {
        "as_of": "2026-03-01",
        # There is no table of notes yet.
        "days": {"publications": [], "revisions": ["1m:2025-10-01", "1h:2023-01-01"], "coverage": ["2015-12-31"]},
    },
}


def spark_task_id(dag_id: str) -> str:
    return {REPROCESS: "one_day.rebuild", RETENTION: "1m.delete"}.get(dag_id, "aggregate")


def rendered(
    dag_id: str,
    run: SimpleNamespace,
    params: dict[str, Any] | None = None,
    task_id: str | None = None,
    try_number: int = 1,
) -> list[str]:
    """Render the templates of the Spark task and build its command with the operator's own hook."""
    from airflow.dag_processing.dagbag import DagBag
    from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook

    dag = DagBag(ROOT / "dags").dags[dag_id]
    task: Any = dag.get_task(task_id or spark_task_id(dag_id))
    # The argument that is not a string is the day of the mapped task. Only a real run has it.
    task.application_args = [each if isinstance(each, str) else MAPPED_DAY for each in task.application_args]
    given = {name: dag.params[name] for name in dag.params} | (params or {})
    run.dag_id = dag_id
    instance = SimpleNamespace(xcom_pull=lambda task_ids: PLANS[task_ids], try_number=try_number)
    task.render_template_fields({"dag_run": run, "params": given, "ti": instance}, dag.get_template_env())
    hook: SparkSubmitHook = task._get_hook()
    return [_portable(argument) for argument in hook._build_spark_submit_command(task.application)]


def _portable(argument: str) -> str:
    argument = argument.replace(str(script_folder()), "$SPARK_JOBS")
    argument = argument.replace(str(archive_path("driver").parent), "$ARCHIVES")
    argument = argument.replace(str(archive_path("driver", "native").parent), "$NATIVE_ARCHIVES")
    argument = argument.replace(str(profile_path("quick").parent), "$PROFILES")
    for path in jar_paths():
        argument = argument.replace(str(path.parent), "$JARS")
    return argument


@pytest.fixture(autouse=True)
def _connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_SPARK_DEFAULT",
        '{"conn_type": "spark", "host": "spark://spark-master", "port": 7077, "extra": {"deploy-mode": "client"}}',
    )


@pytest.mark.parametrize(
    "dag_id", [*(timeframe.dag_id for timeframe in DEFAULT_TIMEFRAMES.values()), REPROCESS, RETENTION]
)
def test_command_lines_equal_the_golden_files(dag_id: str) -> None:
    text = "".join(
        f"# {run_type}\n" + "\n".join(rendered(dag_id, dag_run(run_type))) + "\n\n" for run_type in RUN_TYPES
    )
    path = GOLDEN / f"{dag_id}.txt"
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text)
    assert path.read_text() == text, "the command lines changed: review them, then run 'make golden'"


def test_the_command_line_tool_submits_the_same_job() -> None:
    from ohlcv.config.settings import load_settings

    own_range = scheduled_range(TIMEFRAMES["1m"], INTERVAL_END)
    job = build_job(
        load_settings(),
        "1m",
        own_range,
        rebuild_pending=True,
        dag_id="ohlcv_1m",
        run_id="scheduled__2026-03-01T12:00:00+00:00",
    )
    ours = [_portable(argument) for argument in job.command(MASTER)]
    theirs = rendered("ohlcv_1m", dag_run("scheduled"))
    # The options may differ in order. The arguments of the script must not.
    assert ours[0].replace(str(spark_home() / "bin"), "") in (f"/{theirs[0]}", theirs[0])
    assert sorted(ours[1:]) == sorted(theirs[1:])
    assert (
        ours[ours.index("$SPARK_JOBS/ohlcv_incremental.py") :]
        == theirs[theirs.index("$SPARK_JOBS/ohlcv_incremental.py") :]
    )


def test_every_job_uses_the_spark_home_of_its_archives() -> None:
    """The spark-submit on the path would use pyspark's own home."""
    from airflow.dag_processing.dagbag import DagBag

    from ohlcv.orchestration.tasks import CandleJobOperator

    dags = DagBag(ROOT / "dags").dags.values()
    jobs = [task for dag in dags for task in dag.tasks if isinstance(task, CandleJobOperator)]
    assert len(jobs) >= len(DEFAULT_TIMEFRAMES)
    for task in jobs:
        task.application_args = []
        hook = task._get_hook()
        hook._build_spark_submit_command(str(task.application))
        assert hook._env == {"SPARK_HOME": str(spark_home())}, task.task_id


def script_arguments(command: list[str]) -> dict[str, str]:
    script = next(index for index, argument in enumerate(command) if argument.endswith(".py"))
    return dict(zip(command[script + 1 :: 2], command[script + 2 :: 2], strict=True))


def test_a_cleared_run_builds_its_range_without_pending_hours() -> None:
    first = script_arguments(rendered("ohlcv_1m", dag_run("scheduled")))
    cleared = script_arguments(rendered("ohlcv_1m", dag_run("scheduled", clear_number=1)))
    assert (first["--rebuild-pending"], cleared["--rebuild-pending"]) == ("yes", "no")
    assert (first["--start"], first["--end"]) == (cleared["--start"], cleared["--end"])


def test_the_last_try_of_a_scheduled_run_leaves_pending_hours_to_the_next_run() -> None:
    found = [
        script_arguments(rendered("ohlcv_1m", dag_run("scheduled"), try_number=number))["--rebuild-pending"]
        for number in (1, 2, 3)
    ]
    assert found == ["yes", "yes", "no"]


def test_a_run_without_dates_ends_when_it_was_triggered() -> None:
    found = script_arguments(rendered("ohlcv_5m", dag_run("manual", interval=False)))
    assert (found["--start"], found["--end"]) == ("2026-03-01T11:45:00Z", "2026-03-01T12:05:00Z")


def test_a_given_range_is_widened_to_windows_and_cut_at_the_last_complete_one() -> None:
    given = {"start": "2026-03-01T10:17:00Z", "end": "2026-03-01T23:00:00Z", "prune": True}
    found = script_arguments(rendered("ohlcv_1h", dag_run("manual"), given))
    assert (found["--start"], found["--end"]) == ("2026-03-01T10:00:00Z", "2026-03-01T12:00:00Z")
    assert (found["--prune"], found["--rebuild-pending"]) == ("yes", "no")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"start": "2026-03-01T11:00:00Z", "end": "2026-03-01T10:00:00Z"}, "must be before end"),
        ({"start": "2026-03-02T10:00:00Z", "end": "2026-03-02T11:00:00Z"}, "no 1h window is complete yet"),
        ({"start": "yesterday", "end": "2026-03-01T11:00:00Z"}, "is not an ISO time"),
        ({"start": "2026-03-01T10:00:00Z"}, "give both start and end"),
        (
            {"start": "1970-01-01T00:00:00Z", "end": "2026-03-01T00:00:00Z"},
            "20,513 days .*1,000.: build it by runs of ohlcv_rep",
        ),
    ],
)
def test_an_invalid_range_fails_without_retries(given: dict[str, str], message: str) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match=message):
        rendered("ohlcv_1h", dag_run("manual"), given)


def test_a_scheduled_run_may_have_a_lookback_of_more_days_than_a_given_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OHLCV_1H_LOOKBACK_MINUTES", str(2_000 * 24 * 60))
    found = script_arguments(rendered("ohlcv_1h", dag_run("scheduled")))
    assert found["--start"] < "2021"


def test_every_task_refuses_unknown_parameters_and_a_run_id_that_looks_like_an_option() -> None:
    """A misspelled dry_run must not delete anything."""
    from airflow.dag_processing.dagbag import DagBag
    from airflow.sdk.exceptions import AirflowFailException

    def check(task: Any, conf: dict[str, Any] | None, run_id: str = "manual__1") -> None:
        run = SimpleNamespace(conf=conf, run_id=run_id)
        task._pre_execute_hook({"dag": task.dag, "dag_run": run})

    for dag in DagBag(ROOT / "dags").dags.values():
        for task in dag.tasks:
            check(task, None)
            check(task, dict.fromkeys(dag.params))
            with pytest.raises(AirflowFailException, match=r"unknown parameter 'dryrun': (use|trigger) \w+"):
                check(task, {"dryrun": True})
            with pytest.raises(AirflowFailException, match="the run id '--start' begins with '-': trigger the run"):
                check(task, {}, "--start")


def test_expiry_keeps_the_snapshots_that_the_ledger_needs() -> None:
    found = script_arguments(rendered(RETENTION, dag_run("scheduled"), task_id="1m.expire"))
    assert (found["--timeframe"], found["--steps"]) == ("1m", "expire")
    assert found["--keep-since"] == "2026-02-28T12:00:00.123000Z"
    for step in ("delete", "compact"):
        assert "--keep-since" not in rendered(RETENTION, dag_run("scheduled"), task_id=f"1m.{step}")


@pytest.mark.parametrize(
    ("table", "days"),
    [("publications", ""), ("revisions", "1m:2025-10-01,1h:2023-01-01"), ("coverage", "2015-12-31")],
)
def test_one_job_maintains_a_record_table(table: str, days: str) -> None:
    found = script_arguments(rendered(RETENTION, dag_run("scheduled"), task_id=f"records.{table}"))
    assert found == {
        "--table": table,
        "--steps": "delete,compact,expire",
        "--as-of": "2026-03-01",
        "--days": days,
        "--dag-id": RETENTION,
        "--run-id": "scheduled__2026-03-01T12:00:00+00:00",
    }


def test_the_job_of_a_record_table_that_does_not_exist_is_skipped() -> None:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.sdk.exceptions import AirflowSkipException

    command = rendered(RETENTION, dag_run("scheduled"), task_id="records.coverage_notes")
    assert command[command.index("--as-of") + 1] == ""
    task: Any = DagBag(ROOT / "dags").dags[RETENTION].get_task("records.coverage_notes")
    task.application_args = ["--as-of", ""]
    with pytest.raises(AirflowSkipException, match="there is no such table: the task plan says what to do"):
        task.execute({})


def test_reprocessing_passes_its_parameters_to_the_job() -> None:
    given = {"timeframes": ["1h", "1d"], "prune": True, "dry_run": True, "new_source": True}
    found = script_arguments(rendered(REPROCESS, dag_run("manual"), given))
    assert (found["--timeframes"], found["--prune"], found["--dry-run"]) == ("1h,1d", "yes", "yes")
    assert found["--new-source"] == "yes"
    assert (found["--day"], found["--until"]) == (MAPPED_DAY, "2026-03-01T12:05:07Z")


@pytest.mark.parametrize(
    ("run", "given", "days"),
    [
        ({}, {}, ["2026-02-28"]),
        ({"interval": False}, {}, ["2026-02-28"]),
        ({}, {"start": "2026-02-27T10:00:00Z", "end": "2026-02-28T00:00:01Z"}, ["2026-02-27", "2026-02-28"]),
        # Days after the current one are cut off.
        ({}, {"start": "2026-02-28T00:00:00Z", "end": "2027-01-01T00:00:00Z"}, ["2026-02-28", "2026-03-01"]),
    ],
)
def test_a_reprocessing_run_resolves_its_days(run: dict[str, Any], given: dict[str, str], days: list[str]) -> None:
    from ohlcv.orchestration.run_ranges import dag_run_days

    run_object: Any = dag_run("manual", **run)
    assert [day.isoformat() for day in dag_run_days(run_object, given)] == days


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"start": "2026-03-01T11:00:00Z", "end": "2026-03-01T10:00:00Z"}, "must be before end"),
        ({"start": "2026-03-02T10:00:00Z", "end": "2026-03-02T11:00:00Z"}, "lies in the future"),
        ({"start": "yesterday", "end": "2026-03-01T11:00:00Z"}, "is not an ISO time"),
        ({"end": "2026-03-01T10:00:00Z"}, "give both start and end"),
        ({"start": "2020-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z"}, "2,192 days are .*: use a backfill"),
    ],
)
def test_invalid_days_fail_without_retries(given: dict[str, str], message: str) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from ohlcv.orchestration.run_ranges import dag_run_days

    run_object: Any = dag_run("manual")
    with pytest.raises(AirflowFailException, match=message):
        dag_run_days(run_object, given)


def test_the_current_day_is_left_out_until_it_has_a_complete_window() -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from ohlcv.orchestration.run_ranges import dag_run_days

    run_object: Any = dag_run("manual")
    given = {"start": "2026-02-27T00:00:00Z", "end": "2026-03-02T00:00:00Z"}
    days = [date(2026, 2, 27), date(2026, 2, 28), date(2026, 3, 1)]
    assert dag_run_days(run_object, given | {"timeframes": ["1h", "1d"]}) == days
    assert dag_run_days(run_object, given | {"timeframes": ["1d"]}) == days[:2]
    with pytest.raises(AirflowFailException, match="no window of 2026-03-01 is complete yet: give an earlier start"):
        dag_run_days(run_object, given | {"start": "2026-03-01T00:00:00Z", "timeframes": ["1d"]})


def test_scheduled_and_manual_runs_have_priority_over_backfills() -> None:
    from ohlcv.orchestration.priority import ScheduleFirst

    def weight(run_id: str, task_weight: int, **attached: Any) -> int:
        instance: Any = SimpleNamespace(run_id=run_id, task=SimpleNamespace(priority_weight=task_weight), **attached)
        return ScheduleFirst().get_weight(instance)

    assert weight("scheduled__x", 10) > weight("backfill__x", 50)
    assert weight("manual__x", 10) > weight("backfill__x", 50)
    # A backfill that runs a scheduled run again keeps its run id, so the run type decides.
    again = SimpleNamespace(run_type="backfill")
    assert weight("scheduled__x", 50, dag_run=again) == weight("backfill__x", 50)
