"""However a task ends, nothing of its job stays behind, and the next try finishes the work."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from ohlcv.iceberg.tables import create_tables, open_catalog
from ohlcv.iceberg.write_lock import write_lock
from ohlcv.model.intervals import HOUR, floor_time, iso
from ohlcv.model.table_contracts import NAMESPACE
from ohlcv.model.timeframes import DAY
from ohlcv.spark.processes import descendants
from support.processes import processes_with_environment, command_line, wait_for
from support.sites import POLL_SECONDS, Run, Site

pytestmark = pytest.mark.services

TODAY = floor_time(datetime.now(UTC), DAY)
BEGIN = TODAY - 2 * DAY
DAG, TIMEFRAME, TABLE = "ohlcv_30m", "30m", "gold_ohlcv_30m"

Processes = dict[int, str]


@pytest.fixture(scope="module")
def fed(site: Site) -> Site:
    site.feed(BEGIN, TODAY, 20_000)
    # The run that unpausing starts is not what this is about.
    site.first_scheduled(DAG)
    return site


def processes(site: Site) -> Processes:
    """Give the processes of tasks and jobs: what they are, by pid."""
    kinds = {"org.apache.spark.deploy.SparkSubmit": "spark-submit (JVM of the driver)", "spark_jobs/ohlcv_": "driver"}
    found: Processes = {}
    # Those of Airflow rename themselves, which takes their environment away; a job that lost its parents has kept its.
    for pid in {*processes_with_environment(f"OHLCV_HOME={site.settings.home}"), *descendants(site.airflow.processes["scheduler"].pid)}:
        words = command_line(pid)
        kind = next((kind for word, kind in kinds.items() if word in words), None)
        # The executor's supervisor is called "airflow worker -- LocalExecutor: …", what it supervises has the bare id.
        if kind is None and words.startswith("airflow worker -- ") and "LocalExecutor" not in words:
            kind = "task"
        if kind:
            found[pid] = kind
    for name, process in site.cluster.processes.items():
        if name.startswith("worker") and process.poll() is None:
            found |= {
                pid: "executor"
                for pid in descendants(process.pid)
                if "CoarseGrainedExecutorBackend" in command_line(pid)
            }
    return found


def show(title: str, table: Processes) -> None:
    print(f"{title}:", *(f"  {pid:>7}  {kind}" for pid, kind in sorted(table.items())), sep="\n")


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextmanager
def under_way(site: Site, number: int) -> Iterator[tuple[Run, Processes]]:
    """Hold a run's job where it has everything running and waits for the lease."""
    start = BEGIN + number * HOUR
    with write_lock(site.settings, TABLE):
        run = site.trigger(DAG, {"start": iso(start), "end": iso(start + HOUR)})

        def everything() -> Processes | None:
            table = processes(site)
            whole = {"task", "spark-submit (JVM of the driver)", "driver", "executor"}
            return table if whole <= set(table.values()) and site.applications() else None

        table = wait_for(everything, "task, driver and executor run", POLL_SECONDS)
        show("before", table)
        yield run, table


def gone(site: Site, table: Processes) -> None:
    """Wait until none of them is left."""

    def left() -> bool:
        return bool(processes(site).keys() & table.keys())

    wait_for(lambda: not left(), "they are gone", POLL_SECONDS)
    show("after", {pid: kind for pid, kind in processes(site).items() if pid in table})


def finished(site: Site, run: Run, number: int, tries: int) -> None:
    """See the run through, and its range complete."""
    site.succeeds(run)
    assert site.task(run, "aggregate")["try_number"] == tries
    start = BEGIN + number * HOUR
    assert site.assert_exact(TIMEFRAME, start, start + HOUR) > 0
    commits = [summary for summary in site.summaries(TIMEFRAME) if summary["run-id"] == run.run_id]
    assert len(commits) == 1


@pytest.mark.parametrize(
    ("number", "victim"),
    [(1, "task"), (2, "driver"), (3, "spark-submit (JVM of the driver)")],
    ids=str,
)
def test_a_killed_process_takes_its_job_along_and_the_retry_finishes(fed: Site, number: int, victim: str) -> None:
    with under_way(fed, number) as (run, table):
        kill(next(pid for pid, kind in table.items() if kind == victim))
        gone(fed, table)
    finished(fed, run, number, tries=2)


def mark_failed(site: Site, run: Run) -> None:
    path = f"/dags/{DAG}/dagRuns/{run.run_id}/taskInstances/aggregate"
    site.airflow.call("PATCH", path, {"new_state": "failed"})


def clear(site: Site, run: Run) -> None:
    site.airflow.call(
        "POST",
        f"/dags/{DAG}/clearTaskInstances",
        {"dry_run": False, "dag_run_id": run.run_id, "task_ids": ["aggregate"], "only_failed": False},
    )


@pytest.mark.parametrize(("number", "end"), [(4, mark_failed), (5, clear)], ids=["marked failed", "cleared"])
def test_a_task_ended_by_hand_takes_its_job_along(fed: Site, number: int, end: Callable[[Site, Run], None]) -> None:
    with under_way(fed, number) as (run, table):
        end(fed, run)
        gone(fed, table)
    if end is mark_failed:
        assert fed.ended(run).state == "failed"
        fed.clear(run)
    fed.succeeds(run)
    start = BEGIN + number * HOUR
    assert fed.assert_exact(TIMEFRAME, start, start + HOUR) > 0


def test_a_job_goes_on_when_its_worker_is_replaced(fed: Site) -> None:
    with under_way(fed, 6) as (run, table):
        name, worker = next((n, p) for n, p in fed.cluster.processes.items() if n.startswith("worker"))
        worker.kill()
        worker.wait()
        del fed.cluster.processes[name]
        fed.cluster.add_worker(f"{name}-again", 1, "1g")
    finished(fed, run, 6, tries=1)
    gone(fed, table)


def test_a_job_without_a_worker_is_ended_by_its_timeout_and_the_retry_finishes(fed: Site) -> None:
    name, worker = next((n, p) for n, p in fed.cluster.processes.items() if n.startswith("worker"))
    worker.kill()
    worker.wait()
    del fed.cluster.processes[name]
    start = BEGIN + 7 * HOUR
    run = fed.trigger(DAG, {"start": iso(start), "end": iso(start + HOUR)})
    table = wait_for(lambda: processes(fed), "the job starts", POLL_SECONDS)

    def state() -> str | None:
        found: str | None = fed.task(run, "aggregate")["state"]
        return found

    wait_for(lambda: state() == "running", "the task runs", POLL_SECONDS)
    wait_for(lambda: state() == "up_for_retry", "the timeout of 300 s ends the task", POLL_SECONDS, patience=600)
    gone(fed, table)
    fed.cluster.add_worker(f"{name}-again", 1, "1g")
    finished(fed, run, 7, tries=2)


def test_a_failing_job_is_tried_three_times_a_minute_apart_and_then_fails(fed: Site) -> None:
    open_catalog(fed.settings).drop_table((NAMESPACE, "gold_ohlcv_5m"))
    try:
        fed.airflow.unpause("ohlcv_5m")
        run = fed.trigger("ohlcv_5m", {"start": iso(BEGIN), "end": iso(BEGIN + HOUR)})
        assert fed.ended(run).state == "failed"
    finally:
        fed.airflow.pause("ohlcv_5m")
        create_tables(fed.settings)
    assert fed.task(run, "aggregate")["state"] == "failed"
    assert fed.task(run, "validate")["state"] == "upstream_failed"
    path = f"/dags/ohlcv_5m/dagRuns/{run.run_id}/taskInstances/aggregate/tries"
    tries = fed.airflow.call("GET", path)["task_instances"]
    times = [(datetime.fromisoformat(each["start_date"]), datetime.fromisoformat(each["end_date"])) for each in tries]
    print("tries:", *(f"  {start} .. {end}" for start, end in times), sep="\n")
    assert len(tries) == 3
    waits = [later[0] - earlier[1] for earlier, later in pairwise(times)]
    assert all(wait >= timedelta(seconds=60) for wait in waits)
    assert "error: there is no table market_data.gold_ohlcv_5m: run 'ohlcv tables create'" in fed.log(run, "aggregate")
