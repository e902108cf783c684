"""Installation whose 1m DAG runs every minute on a steady feed of trades."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from ohlcv.ingest.loader import append_trades
from ohlcv.ingest.sample_data import Feed
from ohlcv.model.intervals import floor_time
from support.processes import wait_for
from support.sites import POLL_SECONDS, Run, Site

MINUTE = timedelta(minutes=1)
DAG = "ohlcv_1m"


@contextmanager
def live(site: Site) -> Iterator[None]:
    """Append new trades every five seconds inside the block. It begins after the first successful run."""
    stopped = threading.Event()
    feed = Feed(floor_time(datetime.now(UTC), MINUTE) - 2 * MINUTE)

    def run() -> None:
        while not stopped.wait(5):
            append_trades(site.settings, feed.batch(datetime.now(UTC), 200))

    append_trades(site.settings, feed.batch(datetime.now(UTC), 2_000))
    thread = threading.Thread(target=run)
    thread.start()
    try:
        site.airflow.unpause(DAG)
        wait_for(lambda: successful_runs(site), "the first run", POLL_SECONDS, patience=600)
        yield
    finally:
        stopped.set()
        thread.join()


def successful_runs(site: Site) -> list[Run]:
    return [run for run in site.runs(DAG, "scheduled") if run.state == "success"]


def successful_runs_due_after(site: Site, time: datetime) -> list[Run]:
    return [run for run in successful_runs(site) if datetime.fromisoformat(run.interval_end or "") > time]
