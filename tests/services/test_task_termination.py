"""Ends of tasks: no process of a job remains, whatever ended its task, and the next attempt finishes the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from ohlcv.iceberg.tables import open_catalog
from ohlcv.iceberg.write_lock import write_lock
from ohlcv.model.intervals import HOUR, floor_time, iso
from ohlcv.model.timeframes import DAY, get_timeframe
from support.default_tables import NAMESPACE, candles_contract
from support.processes import wait_for
from support.site_processes import ProcessTable, job_processes, kill, print_processes
from support.sites import POLL_SECONDS, Run, Site

pytestmark = [pytest.mark.services, pytest.mark.timeout(3600)]

TODAY = floor_time(datetime.now(UTC), DAY)
BEGIN = TODAY - 2 * DAY
DAG, TIMEFRAME, TABLE = "ohlcv_30m", "30m", "gold_ohlcv_30m"
# From the trigger of a run to the end of its second attempt.
TWO_ATTEMPTS = timedelta(minutes=6)


@pytest.fixture(scope="module")
def loaded_site(site: Site) -> Site:
    site.generate_trades(BEGIN, TODAY, 20_000)
    site.airflow.unpause(DAG)
    return site


@pytest.fixture
def idle_site(loaded_site: Site) -> Site:
    """Wait until no scheduled run can start during the test: its processes would be taken for those of the test."""
    loaded_site.wait_until_no_run_is_due(DAG, TWO_ATTEMPTS)
    return loaded_site


@contextmanager
def waiting_job(site: Site, number: int) -> Iterator[tuple[Run, ProcessTable]]:
    """Start a run, and stop its job where all its processes run and it waits for the write lock."""
    start = BEGIN + number * HOUR
    with write_lock(site.settings, candles_contract(get_timeframe(TIMEFRAME))):
        run = site.trigger(DAG, {"start": iso(start), "end": iso(start + HOUR)})

        def find_all() -> ProcessTable | None:
            table = job_processes(site)
            kinds = {"task", "spark-submit (JVM of the driver)", "driver", "executor"}
            return table if kinds <= set(table.values()) and site.running_applications() else None

        table = wait_for(find_all, "task, driver and executor run", POLL_SECONDS)
        print_processes("before", table)
        yield run, table


def wait_until_processes_ended(site: Site, table: ProcessTable) -> None:
    wait_for(lambda: not job_processes(site).keys() & table.keys(), "the processes have ended", POLL_SECONDS)
    print_processes("after", {pid: kind for pid, kind in job_processes(site).items() if pid in table})


def assert_run_completes(site: Site, run: Run, number: int, attempts: int) -> None:
    """Assert that a run succeeds in its last attempt, commits once, and that its range is complete."""
    site.wait_until_successful(run)
    assert site.task(run, "aggregate")["try_number"] == attempts
    start = BEGIN + number * HOUR
    assert site.assert_exact(TIMEFRAME, start, start + HOUR) > 0
    commits = [summary for summary in site.summaries(TIMEFRAME) if summary["run-id"] == run.run_id]
    assert len(commits) == 1


@pytest.mark.parametrize(
    ("number", "victim"),
    [(1, "task"), (2, "driver"), (3, "spark-submit (JVM of the driver)")],
    ids=str,
)
def test_a_killed_process_ends_its_job_and_the_retry_completes(idle_site: Site, number: int, victim: str) -> None:
    with waiting_job(idle_site, number) as (run, table):
        kill(next(pid for pid, kind in table.items() if kind == victim))
        wait_until_processes_ended(idle_site, table)
    assert_run_completes(idle_site, run, number, attempts=2)


def mark_failed(site: Site, run: Run) -> None:
    path = f"/dags/{DAG}/dagRuns/{run.run_id}/taskInstances/aggregate"
    site.airflow.call("PATCH", path, {"new_state": "failed"})


def clear(site: Site, run: Run) -> None:
    site.airflow.call(
        "POST",
        f"/dags/{DAG}/clearTaskInstances",
        {"dry_run": False, "dag_run_id": run.run_id, "task_ids": ["aggregate"], "only_failed": False},
    )


@pytest.mark.parametrize(("number", "end_task"), [(4, mark_failed), (5, clear)], ids=["marked failed", "cleared"])
def test_a_task_that_an_operator_ends_takes_its_job_with_it(
    idle_site: Site, number: int, end_task: Callable[[Site, Run], None]
) -> None:
    with waiting_job(idle_site, number) as (run, table):
        end_task(idle_site, run)
        wait_until_processes_ended(idle_site, table)
    if end_task is mark_failed:
        assert idle_site.wait_until_ended(run).state == "failed"
        idle_site.clear(run)
    idle_site.wait_until_successful(run)
    start = BEGIN + number * HOUR
    assert idle_site.assert_exact(TIMEFRAME, start, start + HOUR) > 0


def test_a_job_continues_when_its_worker_is_replaced(idle_site: Site) -> None:
    with waiting_job(idle_site, 6) as (run, table):
        name = idle_site.kill_worker()
        idle_site.cluster.add_worker(f"{name}-again", 1, "1g")
    assert_run_completes(idle_site, run, 6, attempts=1)
    wait_until_processes_ended(idle_site, table)


def test_a_job_without_a_worker_is_ended_by_its_timeout_and_the_retry_completes(loaded_site: Site) -> None:
    site = loaded_site
    # The first attempt takes 300 s.
    site.wait_until_no_run_is_due(DAG, timedelta(minutes=11))
    name = site.kill_worker()
    start = BEGIN + 7 * HOUR
    run = site.trigger(DAG, {"start": iso(start), "end": iso(start + HOUR)})
    table = wait_for(lambda: job_processes(site), "the job starts", POLL_SECONDS)

    def state() -> str | None:
        found: str | None = site.task(run, "aggregate")["state"]
        return found

    wait_for(lambda: state() == "running", "the task runs", POLL_SECONDS)
    wait_for(lambda: state() == "up_for_retry", "the timeout of 300 s ends the task", POLL_SECONDS, patience=600)
    wait_until_processes_ended(site, table)
    site.cluster.add_worker(f"{name}-again", 1, "1g")
    assert_run_completes(site, run, 7, attempts=2)


def test_a_failing_job_is_tried_three_times_a_minute_apart(idle_site: Site) -> None:
    site = idle_site
    catalog, name = open_catalog(site.settings), (NAMESPACE, "gold_ohlcv_5m")
    metadata = catalog.load_table(name).metadata_location
    catalog.drop_table(name)
    try:
        site.airflow.unpause("ohlcv_5m")
        run = site.trigger("ohlcv_5m", {"start": iso(BEGIN), "end": iso(BEGIN + HOUR)})
        assert site.wait_until_ended(run).state == "failed"
    finally:
        site.airflow.pause("ohlcv_5m")
        catalog.register_table(name, metadata)
    assert site.task(run, "aggregate")["state"] == "failed"
    assert site.task(run, "validate")["state"] == "upstream_failed"
    path = f"/dags/ohlcv_5m/dagRuns/{run.run_id}/taskInstances/aggregate/tries"
    attempts = site.airflow.call("GET", path)["task_instances"]
    times = [
        (datetime.fromisoformat(each["start_date"]), datetime.fromisoformat(each["end_date"])) for each in attempts
    ]
    print("attempts:", *(f"  {start} .. {end}" for start, end in times), sep="\n")
    assert len(attempts) == 3
    waits = [later[0] - earlier[1] for earlier, later in pairwise(times)]
    assert all(wait >= timedelta(seconds=60) for wait in waits)
    assert "error: there is no table market_data.gold_ohlcv_5m: run 'ohlcv tables create'" in site.log(run, "aggregate")
