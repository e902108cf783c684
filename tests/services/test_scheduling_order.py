"""Order of Spark jobs: one at a time, scheduled runs before backfills, small timeframes before large ones."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ohlcv.iceberg.write_lock import write_lock
from ohlcv.model.intervals import ceil_time, floor_time
from ohlcv.model.timeframes import DAY, DEFAULT_TIMEFRAMES, get_timeframe
from support.default_tables import candles_contract
from support.processes import wait_for
from support.sites import ENDED, POLL_SECONDS, Run, Site, running_site, wait_until

pytestmark = [pytest.mark.services, pytest.mark.timeout(3600)]

TODAY = floor_time(datetime.now(UTC), DAY)
BACKFILLED_RUNS = 50


@contextmanager
def recording_applications(site: Site, seen: list[list[str]], changed: list[datetime]) -> Iterator[None]:
    """Record every change of the master's list of active applications, and its time."""
    stopped = threading.Event()

    def record() -> None:
        while not stopped.wait(0.2):
            names = site.running_applications()
            if not seen or seen[-1] != names:
                seen.append(names)
                changed.append(datetime.now(UTC))

    thread = threading.Thread(target=record)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


@pytest.fixture
def new_site(tmp_path: Path) -> Iterator[Site]:
    """Start an installation where no DAG has run: each DAG has a run due as soon as it is unpaused."""
    with running_site(tmp_path) as running:
        yield running


def run_of_application(name: str) -> tuple[str, str]:
    """Return the DAG id and the run id from an application's name, such as "ohlcv 1m scheduled__…"."""
    prefix, timeframe, run_id = name.split(" ", 2)
    return f"{prefix}_{timeframe}", run_id


def test_due_runs_of_five_timeframes_start_before_a_backfill_of_fifty_runs(new_site: Site) -> None:
    site, begin = new_site, TODAY - 4 * DAY
    site.generate_trades(begin, datetime.now(UTC), 40_000)
    dags = [timeframe.dag_id for timeframe in DEFAULT_TIMEFRAMES.values()]
    site.complete_first_scheduled_run("ohlcv_1m")
    seen: list[list[str]] = []
    changed: list[datetime] = []
    with recording_applications(site, seen, changed):
        # Start shortly before the next tick of the 1m DAG, so that all five DAGs wait when it comes.
        start = begin + timedelta(hours=1)
        last = start + timedelta(minutes=5 * (BACKFILLED_RUNS - 1))
        created = site.create_backfill("ohlcv_1m", start, last, max_active_runs=BACKFILLED_RUNS)
        next_tick = ceil_time(datetime.now(UTC) + timedelta(seconds=60), timedelta(minutes=5))
        wait_until(next_tick - timedelta(seconds=45))
        # While a backfilled job waits for the write lock, the scheduled runs enter the queue of the pool.
        with write_lock(site.settings, candles_contract(get_timeframe("1m"))):
            taken = datetime.now(UTC)

            def is_blocked() -> bool:
                # A job that had committed already ends within seconds. A job that stays waits for the lock.
                since = max(taken, changed[-1])
                return bool(seen and seen[-1] and datetime.now(UTC) - since > timedelta(seconds=10))

            wait_for(is_blocked, "a backfilled job waits", POLL_SECONDS)
            blocked_at = len(seen) - 1
            site.airflow.unpause(*dags[1:])

            def task_states() -> list[tuple[str, str]]:
                return [
                    (run.dag_id, site.airflow.tasks(run.dag_id, run.run_id)["aggregate"]["state"])
                    for run in active_scheduled_runs(site, dags)
                ]

            try:
                expected = [(dag_id, "scheduled") for dag_id in dags]
                wait_for(lambda: task_states() == expected, "all five wait for the pool", POLL_SECONDS)
            finally:
                print("waiting:", task_states())
            # Scheduled run ids hold only the time: runs of two DAGs that are due at the same minute share one.
            due = [(run.dag_id, run.run_id) for run in active_scheduled_runs(site, dags)]
        for dag_id, run_id in due:
            site.wait_until_successful(site.run(dag_id, run_id))

        def finished() -> int:
            return len([run for run in site.runs("ohlcv_1m", "backfill") if run.state == "success"])

        finished_before = finished()
        wait_for(lambda: finished() > finished_before, "the backfill continues", POLL_SECONDS)
        print(f"backfilled runs: {BACKFILLED_RUNS} created, {finished()} finished after the five scheduled runs")
        site.airflow.call("PUT", f"/backfills/{created}/cancel")

    print("active applications over time:", *seen, sep="\n  ")
    assert max(len(names) for names in seen) == 1
    blocked, *later = [run_of_application(names[0]) for names in seen[blocked_at:] if names]
    assert blocked[1].startswith("backfill__")
    assert [run for run in later if run in due] == due
    # The next run of a small timeframe may become due meanwhile and start before a larger one. No backfill may.
    backfilled = [place for place, (_, run_id) in enumerate(later) if run_id.startswith("backfill__")]
    last_due = max(place for place, run in enumerate(later) if run in due)
    assert backfilled
    assert backfilled[0] > last_due


def active_scheduled_runs(site: Site, dags: list[str]) -> list[Run]:
    runs = [run for dag_id in dags for run in site.runs(dag_id, "scheduled")]
    return [run for run in runs if run.state not in ENDED]
