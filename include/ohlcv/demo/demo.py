"""The demo: the whole pipeline on this machine, with generated trades that arrive continuously."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ohlcv.config.settings import Settings
from ohlcv.demo.local_airflow import LocalAirflow, local_airflow
from ohlcv.iceberg.tables import create_tables
from ohlcv.iceberg.views import are_views_current
from ohlcv.ingest.sample_data import Feed
from ohlcv.ingest.sample_feed import HISTORY, load_history, run_feed
from ohlcv.model.errors import OhlcvError
from ohlcv.spark.local_cluster import local_cluster
from ohlcv.spark.spark_submit import LOCAL_MASTER, run, views_job

Working = Callable[[str], AbstractContextManager[object]]
Print = Callable[[str], None]

# Five Spark jobs in sequence take two or three minutes on a small, busy machine.
FIRST_RUNS_SECONDS = 900.0
POLL_SECONDS = 1.0
REPROCESS, RECORDINGS = "ohlcv_reprocess", ("ohlcv_ledger", "ohlcv_coverage")
# Airflow's usual port; where it is in use, a free one is taken.
PREFERRED_PORT = 8080


@dataclass(frozen=True)
class DemoRun:
    """A finished run: its state, the duration of its Spark job, and the asset event of its validation."""

    dag_id: str
    run_id: str
    state: str
    seconds: float
    event: dict[str, Any]


@dataclass(frozen=True)
class Demo:
    """The running services."""

    settings: Settings
    airflow: LocalAirflow
    spark_web: str

    def first_runs(self, print_line: Print) -> list[DemoRun]:
        """Unpause the DAGs and wait for one finished run of each timeframe."""
        dag_ids = [timeframe.dag_id for timeframe in self.settings.timeframes.values()]
        self.airflow.unpause(*dag_ids)
        deadline = time.monotonic() + FIRST_RUNS_SECONDS
        found: dict[str, DemoRun] = {}
        while len(found) < len(dag_ids):
            self.airflow.check_alive()
            if time.monotonic() > deadline:
                missing = ", ".join(
                    each.dag_id for each in self.settings.timeframes.values() if each.dag_id not in found
                )
                raise OhlcvError(f"no run of {missing} ended within {FIRST_RUNS_SECONDS:.0f} s: see {self.airflow.url}")
            for dag_id in dag_ids:
                if dag_id not in found and (ended := self._ended(dag_id)):
                    found[dag_id] = ended[0]
                    print_line(_line(ended[0]))
            time.sleep(POLL_SECONDS)
        return [found[dag_id] for dag_id in dag_ids]

    def fill_history(self) -> None:
        """Trigger the reprocessing of the two days before now: scheduled runs build their lookback only.

        The ledger and the coverage begin, too.
        """
        self.airflow.unpause(REPROCESS, *RECORDINGS)
        now = datetime.now(UTC)
        conf = {"start": (now - HISTORY).isoformat(), "end": now.isoformat()}
        self.airflow.call("POST", f"/dags/{REPROCESS}/dagRuns", {"logical_date": None, "conf": conf})

    def watch(self, print_line: Print) -> None:
        """Print a line for every run that ends, until interrupted."""
        seen = {run.run_id for dag_id in self._dag_ids for run in self._ended(dag_id)}
        while True:
            self.airflow.check_alive()
            for dag_id in self._dag_ids:
                for ended in self._ended(dag_id):
                    if ended.run_id not in seen:
                        seen.add(ended.run_id)
                        print_line(_line(ended))
            time.sleep(5 * POLL_SECONDS)

    @property
    def _dag_ids(self) -> list[str]:
        return [*(timeframe.dag_id for timeframe in self.settings.timeframes.values()), REPROCESS]

    def _ended(self, dag_id: str) -> list[DemoRun]:
        ended = [run for run in self.airflow.runs(dag_id) if run["state"] in ("success", "failed")]
        events = self.airflow.call("GET", "/assets/events", source_dag_id=dag_id, limit=100)["asset_events"]
        extras = {event["source_run_id"]: event["extra"] for event in events}
        return [self._as_run(dag_id, run, extras.get(run["dag_run_id"], {})) for run in ended]

    def _as_run(self, dag_id: str, run: dict[str, Any], event: dict[str, Any]) -> DemoRun:
        # A reprocessing run has one job per day, so its duration is that of the whole run.
        measured = run if dag_id == REPROCESS else self.airflow.tasks(dag_id, run["dag_run_id"])["aggregate"]
        return DemoRun(dag_id, run["dag_run_id"], run["state"], float(measured["duration"] or 0), event)


def _line(run: DemoRun) -> str:
    span = run.event.get("ranges", [{}])[-1]
    name = f"{span['start']} .. {span['end']}" if span else run.run_id
    return f"{run.dag_id} {name}: {run.state} after {run.seconds:.1f} s"


@contextmanager
def demo_services(settings: Settings, trades: int, show_progress: Working, print_line: Print) -> Iterator[Demo]:
    """Start everything: tables, sample trades up to now, Spark, Airflow, and a feed of new trades."""
    with show_progress("creating the tables"):
        create_tables(settings)
    if not are_views_current(settings):
        with show_progress("creating the views"):
            outcome = run(views_job(settings), LOCAL_MASTER)
            if outcome.exit_code:
                raise OhlcvError(outcome.error)
    with show_progress(f"loading {trades:,} sample trades up to now"):
        feed = load_history(settings, trades)
    with ExitStack() as stack:
        with show_progress("starting a Spark master and a worker on 127.0.0.1"):
            cluster = stack.enter_context(local_cluster(settings.home / "spark"))
        with show_progress("starting Airflow on 127.0.0.1 (scheduler, DAG processor, API server, triggerer)"):
            environment = {"OHLCV_HOME": str(settings.home)}
            airflow = stack.enter_context(
                local_airflow(
                    settings.home / "airflow", cluster.master, cluster.web, environment, preferred_port=PREFERRED_PORT
                )
            )
        stack.enter_context(_feeding(settings, feed, print_line))
        yield Demo(settings, airflow, cluster.web)


@contextmanager
def _feeding(settings: Settings, feed: Feed, print_line: Print) -> Iterator[None]:
    """Run the sample feed in a thread until the end of the block."""
    stopped = threading.Event()
    thread = threading.Thread(target=run_feed, args=(settings, feed, stopped, print_line), name="feed", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
