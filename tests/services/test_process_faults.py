"""Services killed with SIGKILL while runs are active: after their restart the candles are complete and exact."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from ohlcv.model.intervals import floor_time
from ohlcv.spark.processes import stop
from support.live_sites import DAG, MINUTE, live, successful_runs, successful_runs_due_after
from support.processes import wait_for
from support.site_processes import (
    job_processes,
    kill,
    kill_service,
    metadata_database,
    print_processes,
    restart_ended_services,
    restart_service,
)
from support.sites import ENDED, POLL_SECONDS, Run, Site
from support.small_disk import small_disk

pytestmark = [pytest.mark.services, pytest.mark.timeout(3600)]

# Airflow's Variable of the open incident of scheduled runs.
INCIDENT = f"ohlcv_incident:{DAG}:scheduled"
# On a busy machine a run takes minutes.
RECOVERY_SECONDS = 1200
# Sessions of the services.
OTHER_CLIENTS = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
# Sessions that have locked runs and wait for their client.
LOCKED_RUNS = """
    SELECT pid FROM pg_stat_activity JOIN pg_locks USING (pid)
    WHERE state = 'idle in transaction' AND relation = 'dag_run'::regclass AND mode = 'RowShareLock'
"""


@pytest.fixture(scope="module")
def live_site(minutely_site: Site) -> Iterator[Site]:
    with live(minutely_site):
        yield minutely_site


def wait_for_running_job(site: Site) -> None:
    """Wait until a run's job computes on an executor."""
    wait_for(lambda: {"driver", "executor"} <= set(job_processes(site).values()), "a job runs", POLL_SECONDS)
    print_processes("before", job_processes(site))


def active_runs(site: Site) -> list[Run]:
    return [run for run in site.runs(DAG) if run.state not in ENDED]


def assert_recovers(site: Site) -> None:
    """Assert that later scheduled runs complete all candles, that every run ends, and that no process remains."""
    begin = datetime.fromisoformat(site.job_range(successful_runs(site)[0])[0])
    restarted = datetime.now(UTC)

    def recovered() -> list[Run]:
        restart_ended_services(site)
        # The second run due after the restart also has what the first one could not read yet.
        return successful_runs_due_after(site, restarted)[1:]

    last = wait_for(
        recovered,
        "two successful runs after the restart",
        POLL_SECONDS,
        patience=RECOVERY_SECONDS,
    )[0]
    end = datetime.fromisoformat(site.job_range(last)[1])
    candles = site.assert_exact("1m", begin, end)
    print(f"recovered after {datetime.now(UTC) - restarted}: {candles} exact candles of {begin} .. {end}")
    # The feed has trades of eight series; only its first minute may lack some.
    assert candles >= 8 * ((end - begin) // MINUTE) - 8
    site.pause_and_wait(DAG)
    try:
        wait_for(lambda: not job_processes(site), "the processes of all jobs have ended", POLL_SECONDS)
        runs = site.runs(DAG)
        print("runs:", {state: len([run for run in runs if run.state == state]) for state in {r.state for r in runs}})
        assert not [run for run in active_runs(site) if is_overdue(run)]
    finally:
        site.airflow.pause(DAG, False)


def is_overdue(run: Run) -> bool:
    """Return whether a run that was due before the last minutes has not ended."""
    return datetime.fromisoformat(run.run_after) < floor_time(datetime.now(UTC), MINUTE) - timedelta(minutes=10)


@pytest.mark.parametrize("name", ["api-server", "dag-processor", "triggerer"])
def test_a_service_killed_under_load_and_restarted_loses_no_candle(live_site: Site, name: str) -> None:
    wait_for_running_job(live_site)
    kill_service(live_site, name)
    restart_service(live_site, name)
    wait_for(lambda: is_answering(live_site), "the API answers", POLL_SECONDS)
    assert_recovers(live_site)


def test_a_scheduler_killed_in_a_transaction_and_restarted_loses_no_candle(live_site: Site) -> None:
    wait_for_running_job(live_site)
    killed = live_site.airflow.processes["scheduler"]
    kill_scheduler_in_a_transaction(live_site)
    try:
        restart_service(live_site, "scheduler")
        assert_recovers(live_site)
    finally:
        # Ends the workers, which have lived on.
        stop(killed)


def test_a_crash_of_the_metadata_database_under_load_loses_no_candle(live_site: Site) -> None:
    wait_for_running_job(live_site)
    with metadata_database(live_site) as database:
        backends = database.execute(OTHER_CLIENTS).fetchall()
    # When one of its processes is killed, PostgreSQL ends all others and recovers.
    kill(backends[0][0])
    wait_for(lambda: has_recovered(live_site, set(backends)), "the database has recovered", POLL_SECONDS)
    wait_for(lambda: is_answering(live_site), "the API answers", POLL_SECONDS)
    assert_recovers(live_site)


def test_runs_without_space_for_task_logs_fail_and_later_runs_lose_no_candle(live_site: Site) -> None:
    with small_disk(live_site.airflow.folder / "logs" / f"dag_id={DAG}", 4) as disk:
        disk.fill()
        full = datetime.now(UTC)
        failed = wait_for(lambda: find_failed(live_site, full), "a run has failed", POLL_SECONDS, RECOVERY_SECONDS)
        wait_for(lambda: is_incident_open(live_site), "its incident is open", POLL_SECONDS)
        disk.empty()
        print(f"{failed.run_id}: {live_site.airflow.tasks(DAG, failed.run_id)['aggregate']['try_number']} attempts")
        # A callback that waits for an answer of the DAG processor would have its DAGs deactivated.
        assert "Unable to decode message" not in (live_site.airflow.folder / "dag-processor.log").read_text()
        assert_recovers(live_site)


def find_failed(site: Site, begin: datetime) -> Run | None:
    """Return a failed run that was due after that time."""
    runs = (run for run in site.runs(DAG) if datetime.fromisoformat(run.run_after) > begin)
    return next((run for run in runs if run.state == "failed"), None)


def is_incident_open(site: Site) -> bool:
    with metadata_database(site) as database:
        return bool(database.execute("SELECT 1 FROM variable WHERE key = %s", [INCIDENT]).fetchall())


def kill_scheduler_in_a_transaction(site: Site) -> None:
    """Kill the scheduler with SIGKILL while a transaction of it has locked a run.

    Its workers live on and have inherited its connections, so the database does not notice that it is dead.
    """
    scheduler = site.airflow.processes["scheduler"]
    with metadata_database(site) as database:

        def stopped_in_a_transaction() -> bool:
            scheduler.send_signal(signal.SIGSTOP)
            if database.execute(LOCKED_RUNS).fetchall():
                return True
            scheduler.send_signal(signal.SIGCONT)
            return False

        wait_for(stopped_in_a_transaction, "a transaction of the scheduler", poll_seconds=0.01)
        kill_service(site, "scheduler")
        assert database.execute(LOCKED_RUNS).fetchall()
        wait_for(lambda: not database.execute(LOCKED_RUNS).fetchall(), "the transaction ends", POLL_SECONDS)


def has_recovered(site: Site, before: set[tuple[int]]) -> bool:
    """Return whether the database takes connections and none of the earlier sessions is left."""
    try:
        with metadata_database(site) as database:
            return not before & set(database.execute(OTHER_CLIENTS).fetchall())
    except psycopg.OperationalError:
        return False


def is_answering(site: Site) -> bool:
    try:
        site.airflow.call("GET", "/version")
        site.runs(DAG)
    except Exception:
        return False
    return True
