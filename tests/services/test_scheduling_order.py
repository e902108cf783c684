"""Who gets Spark: one job at a time, the schedule before backfills, small timeframes before large ones."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ohlcv.demo.local_postgres import postgres_server
from ohlcv.iceberg.write_lock import write_lock
from ohlcv.model.intervals import ceil_time, floor_time
from ohlcv.model.timeframes import DAY, TIMEFRAMES
from support.databases import new_database
from support.processes import wait_for
from support.sites import POLL_SECONDS, Site, clock, running_site

pytestmark = pytest.mark.services

TODAY = floor_time(datetime.now(UTC), DAY)
RUNS = 50


@contextmanager
def watching(site: Site, seen: list[list[str]], changed: list[datetime]) -> Iterator[None]:
    """Note every change of the applications the master holds for running, and when it was."""
    stopped = threading.Event()

    def watch() -> None:
        while not stopped.wait(0.2):
            now = site.applications()
            if not seen or seen[-1] != now:
                seen.append(now)
                changed.append(datetime.now(UTC))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site where no DAG has run yet: all are due as soon as they are unpaused.

    Airflow's database is PostgreSQL, as a site's is: on SQLite it does not support backfills beside a busy scheduler.
    """
    with postgres_server(tmp_path / "postgres", volatile=True) as server:
        login = f"{server.user}:{server.password}@{server.host}:{server.port}/{new_database(server)}"
        addresses = {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg://{login}",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": f"postgresql+psycopg_async://{login}",
        }
        with running_site(tmp_path, environment=addresses) as running:
            yield running


def test_five_due_timeframes_pass_a_backfill_of_fifty_runs_one_job_at_a_time(site: Site) -> None:
    begin = TODAY - 4 * DAY
    site.feed(begin, datetime.now(UTC), 40_000)
    dags = [timeframe.dag_id for timeframe in TIMEFRAMES.values()]
    site.first_scheduled("ohlcv_1m")
    seen: list[list[str]] = []
    changed: list[datetime] = []
    with watching(site, seen, changed):
        # Until shortly before the next tick of the 1m DAG, so that all five wait when it comes.
        start = begin + timedelta(hours=1)
        created = site.backfill("ohlcv_1m", start, start + timedelta(minutes=5 * (RUNS - 1)), at_once=RUNS)
        clock(ceil_time(datetime.now(UTC) + timedelta(seconds=60), timedelta(minutes=5)) - timedelta(seconds=45))
        # While a backfilled job waits for the lease, everybody else comes to stand in line.
        with write_lock(site.settings, "gold_ohlcv_1m"):
            taken = datetime.now(UTC)

            def parked() -> bool:
                # One that had its commit behind it is gone within seconds; one that stays waits.
                since = max(taken, changed[-1])
                return bool(seen and seen[-1] and datetime.now(UTC) - since > timedelta(seconds=10))

            wait_for(parked, "a backfilled job waits", POLL_SECONDS)
            held = len(seen) - 1
            site.airflow.unpause(*dags[1:])

            def waiting() -> dict[str, str]:
                return {
                    dag_id: site.airflow.tasks(dag_id, run.run_id)["aggregate"]["state"]
                    for dag_id in dags
                    for run in site.runs(dag_id, "scheduled")
                    if run.state in ("queued", "running")
                }

            try:
                wait_for(lambda: list(waiting().values()) == ["scheduled"] * 5, "all five stand in line", POLL_SECONDS)
            finally:
                print("in line:", waiting())
            due = {
                run.run_id: dag_id
                for dag_id in dags
                for run in site.runs(dag_id, "scheduled")
                if run.state in ("queued", "running")
            }
        for run_id, dag_id in due.items():
            site.succeeds(site.run(dag_id, run_id))

        def finished() -> int:
            return len([run for run in site.runs("ohlcv_1m", "backfill") if run.state == "success"])

        before_going_on = finished()
        wait_for(lambda: finished() > before_going_on, "the backfill goes on", POLL_SECONDS)
        print(f"backfilled runs: {RUNS} asked for, {finished()} done when the five were")
        site.airflow.call("PUT", f"/backfills/{created}/cancel")

    print("applications as the master saw them:", *seen, sep="\n  ")
    assert max(len(names) for names in seen) == 1
    held_by, *later = [names[0].split(" ", 2)[2] for names in seen[held:] if names]
    assert held_by.startswith("backfill__")
    assert [due[run_id] for run_id in later if run_id in due] == dags
    # A small timeframe may have its next tick meanwhile; that comes before a larger one, and no backfill does.
    backfilled = [place for place, run_id in enumerate(later) if run_id.startswith("backfill__")]
    last_due = max(place for place, run_id in enumerate(later) if run_id in due)
    assert backfilled
    assert backfilled[0] > last_due
