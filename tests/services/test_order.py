"""Who gets Spark: one job at a time, the schedule before backfills, small timeframes before large ones."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from faults.processes import wait_for
from ohlcv.lease import writers_lease
from ohlcv.timeframes import DAY, TIMEFRAMES
from ohlcv.windows import floor_time, iso
from services_lab import POLL_SECONDS, Site, running_site

pytestmark = pytest.mark.heavy

TODAY = floor_time(datetime.now(UTC), DAY)
RUNS = 50


@contextmanager
def watching(site: Site, seen: list[list[str]]) -> Iterator[None]:
    """Note every change of the applications the master holds for running."""
    stopped = threading.Event()

    def watch() -> None:
        while not stopped.wait(0.2):
            now = site.applications()
            if not seen or seen[-1] != now:
                seen.append(now)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site where no DAG has run yet: all are due as soon as they are unpaused."""
    with running_site(tmp_path) as running:
        yield running


def test_five_due_timeframes_pass_a_backfill_of_fifty_runs_one_job_at_a_time(site: Site) -> None:
    begin = TODAY - 4 * DAY
    site.feed(begin, datetime.now(UTC), 40_000)
    body = {
        "dag_id": "ohlcv_1m",
        "from_date": iso(begin + timedelta(hours=1)),
        "to_date": iso(begin + timedelta(hours=1, minutes=5 * (RUNS - 1))),
        "reprocess_behavior": "none",
        "max_active_runs": RUNS,
        "run_backwards": False,
        "dag_run_conf": {},
    }
    dags = [timeframe.dag_id for timeframe in TIMEFRAMES.values()]
    seen: list[list[str]] = []
    with watching(site, seen):
        # While the first backfilled job waits for the lease, everybody else comes to stand in line.
        with writers_lease(site.settings, "gold_ohlcv_1m"):
            created = site.airflow.call("POST", "/backfills", body)
            site.airflow.unpause("ohlcv_1m")
            wait_for(site.applications, "a backfilled job runs", POLL_SECONDS)
            for dag_id in dags:
                site.airflow.unpause(dag_id)

            def waiting() -> dict[str, str]:
                return {
                    dag_id: site.airflow.tasks(dag_id, run.run_id)["aggregate"]["state"]
                    for dag_id in dags
                    for run in site.runs(dag_id, "scheduled")
                }

            try:
                wait_for(lambda: list(waiting().values()) == ["scheduled"] * 5, "all five stand in line", POLL_SECONDS)
            finally:
                print("in line:", waiting())
            due = {run.run_id: dag_id for dag_id in dags for run in site.runs(dag_id, "scheduled")}
        for run_id, dag_id in due.items():
            site.succeeds(site.run(dag_id, run_id))
        done = len([run for run in site.runs("ohlcv_1m", "backfill") if run.state == "success"])

        def goes_on() -> bool:
            return len([run for run in site.runs("ohlcv_1m", "backfill") if run.state == "success"]) > done

        wait_for(goes_on, "the backfill goes on", POLL_SECONDS)
        site.airflow.call("PUT", f"/backfills/{created['id']}/cancel")
        wait_for(lambda: not site.applications(), "the last job ends", POLL_SECONDS)
    print("applications as the master saw them:", *seen, sep="\n  ")
    assert max(len(names) for names in seen) == 1
    jobs = [names[0].split(" ", 2) for names in seen if names]
    order = [(timeframe, "backfill" if "backfill__" in run_id else "scheduled") for _, timeframe, run_id in jobs]
    assert order[0] == ("1m", "backfill")
    assert order[1:6] == [(name, "scheduled") for name in TIMEFRAMES]
    assert set(order[6:]) == {("1m", "backfill")}
