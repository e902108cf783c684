"""A complete installation for tests: Spark master and worker, Airflow's four services, and an empty catalog."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from croniter import croniter

from ohlcv.config.settings import Settings, load_settings
from ohlcv.demo.local_airflow import LocalAirflow, local_airflow
from ohlcv.iceberg.snapshot_summary import job_summary, main_snapshots
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.ingest.loader import append_trades
from ohlcv.ingest.sample_data import Feed
from ohlcv.model.intervals import Range, iso
from ohlcv.model.timeframes import Timeframe
from ohlcv.quality.validator import validate
from ohlcv.spark.local_cluster import LocalCluster, local_cluster
from support.default_tables import TRADES, candles_contract
from support.harness import append, published_ids, read_stored_candles
from support.processes import QUICK_JAVA, wait_for
from support.reference_model import Trade

ENDED = ("success", "failed")
POLL_SECONDS = 0.5
# A run has three attempts a minute apart, and each Spark job may wait for the jobs of other DAGs.
RUN_SECONDS = 900


def parse_job_arguments(task: Mapping[str, Any]) -> dict[str, str]:
    """Return the arguments of the Spark job that a task instance submitted."""
    field = task["rendered_fields"]["application_args"]
    arguments = field if isinstance(field, list) else ast.literal_eval(field)
    return dict(zip(arguments[::2], arguments[1::2], strict=True))


@dataclass(frozen=True)
class Run:
    """The state of a DAG run at the time of the request."""

    dag_id: str
    run_id: str
    state: str
    type: str
    interval_end: str | None
    run_after: str


@dataclass
class Site:
    """A running installation, with helpers to drive it and to read its state."""

    settings: Settings
    cluster: LocalCluster
    airflow: LocalAirflow

    def load(self, trades: Iterable[Trade]) -> None:
        """Append trades in one commit."""
        append(load_table(open_catalog(self.settings), TRADES), trades)

    def generate_trades(self, begin: datetime, end: datetime, trades: int) -> None:
        """Append generated trades of eight series between two times.

        The trades depend on `begin`: a test that expects an exact number of candles needs a fixed day, or so many
        trades that no window can be empty.
        """
        append_trades(self.settings, Feed(begin).batch(end, trades))

    # Airflow.

    def runs(self, dag_id: str, run_type: str | None = None) -> list[Run]:
        """Return the runs of a DAG, ordered by due time."""
        return [run for run in map(_to_run, self.airflow.runs(dag_id)) if run_type in (None, run.type)]

    def run(self, dag_id: str, run_id: str) -> Run:
        return _to_run(self.airflow.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}"))

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None, logical_date: str | None = None) -> Run:
        """Start a manual run."""
        body = {"logical_date": logical_date, "conf": conf or {}}
        return _to_run(self.airflow.call("POST", f"/dags/{dag_id}/dagRuns", body))

    def create_backfill(
        self, dag_id: str, first: datetime, last: datetime, behavior: str = "none", max_active_runs: int = 1
    ) -> int:
        """Create a backfill and return its id."""
        body = {
            "dag_id": dag_id,
            "from_date": iso(first),
            "to_date": iso(last),
            "reprocess_behavior": behavior,
            "max_active_runs": max_active_runs,
            "run_backwards": False,
            "dag_run_conf": {},
        }
        return int(self.airflow.call("POST", "/backfills", body)["id"])

    def clear(self, run: Run) -> None:
        """Clear a finished run, as the button in the web UI does."""
        self.airflow.call(
            "POST", f"/dags/{run.dag_id}/dagRuns/{run.run_id}/clear", {"dry_run": False, "only_failed": False}
        )

    def wait_until_ended(self, run: Run) -> Run:
        """Wait for the end of a run and return its final state."""

        def find_ended() -> Run | None:
            current = self.run(run.dag_id, run.run_id)
            return current if current.state in ENDED else None

        return wait_for(find_ended, f"{run} ends", POLL_SECONDS, patience=RUN_SECONDS)

    def wait_until_successful(self, run: Run) -> Run:
        """Wait for the end of a run and assert that it succeeded."""
        ended = self.wait_until_ended(run)
        assert ended.state == "success", f"{ended}\n{self.log(ended)}"
        return ended

    def pause_and_wait(self, dag_id: str) -> None:
        """Pause a DAG and wait until none of its tasks runs. The rest of an active run stays undone."""
        self.airflow.pause(dag_id)

        def is_idle() -> bool:
            tasks = (self.airflow.tasks(dag_id, run.run_id) for run in self.runs(dag_id) if run.state == "running")
            return not any(each["state"] in ("queued", "running") for found in tasks for each in found.values())

        wait_for(is_idle, f"no task of {dag_id} runs", POLL_SECONDS)

    def complete_first_scheduled_run(self, dag_id: str, quiet: timedelta = timedelta(0)) -> Run:
        """Unpause a DAG, and wait until its newest scheduled run has succeeded.

        No further run of a candle DAG becomes due for the time `quiet`: if one would, wait for it before unpausing.
        """
        if quiet:
            enabled = self.settings.timeframes.values()
            wait_until_no_tick(next(each for each in enabled if each.dag_id == dag_id), quiet)
        self.airflow.unpause(dag_id)
        runs = wait_for(lambda: self.runs(dag_id, "scheduled"), f"{dag_id} is scheduled", POLL_SECONDS)
        return self.wait_until_successful(runs[-1])

    def wait_until_no_run_is_due(self, dag_id: str, duration: timedelta) -> None:
        """Wait until an unpaused DAG has no active run and its next scheduled run is due after `duration`.

        A test that must not meet a scheduled run calls this first. `duration` is shorter than the DAG's interval.
        """

        def is_idle() -> bool:
            if any(run.state not in ENDED for run in self.runs(dag_id)):
                return False
            due = self.airflow.call("GET", f"/dags/{dag_id}")["next_dagrun_run_after"]
            return bool(due) and datetime.fromisoformat(due) - datetime.now(UTC) > duration

        patience = RUN_SECONDS + duration.total_seconds()
        wait_for(is_idle, f"{dag_id} has no run for {duration}", POLL_SECONDS, patience)

    def job_arguments(self, run: Run, task_id: str = "aggregate") -> dict[str, str]:
        """Return the arguments of a task's Spark job."""
        return parse_job_arguments(self.task(run, task_id))

    def job_range(self, run: Run) -> tuple[str, str]:
        """Return the start and end that a run's job received, and print them for the test report."""
        arguments = self.job_arguments(run)
        start, end = arguments["--start"], arguments["--end"]
        pending = arguments["--rebuild-pending"]
        print(f"{run.type:10} {run.dag_id} {run.run_id}: {start} .. {end}, rebuild pending hours: {pending}")
        return start, end

    def task(self, run: Run, task_id: str, map_index: int = -1) -> dict[str, Any]:
        path = f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{task_id}"
        found: dict[str, Any] = self.airflow.call("GET", path if map_index < 0 else f"{path}/{map_index}")
        return found

    def log(self, run: Run, task_id: str | None = None, attempt: int | None = None) -> str:
        """Read the log of a task, or without a task the logs of all failed tasks."""
        tasks = self.airflow.tasks(run.dag_id, run.run_id)
        chosen = [task_id] if task_id else [name for name, task in tasks.items() if task["state"] == "failed"]
        texts = []
        for name in chosen:
            number = attempt or tasks[name]["try_number"]
            path = f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{name}/logs/{number}"
            answer = self.airflow.call("GET", path, map_index=tasks[name]["map_index"], full_content=True)
            texts += [line.get("event", "") if isinstance(line, dict) else str(line) for line in answer["content"]]
            texts += [json.dumps(line["error_detail"]) for line in answer["content"] if "error_detail" in line]
        return "\n".join(texts)

    # Spark.

    def running_applications(self) -> list[str]:
        """Return the names of the applications that the master reports as active."""
        with urllib.request.urlopen(f"{self.cluster.web}/json/", timeout=10) as answer:
            return [application["name"] for application in json.load(answer)["activeapps"]]

    def worker_states(self) -> list[str]:
        with urllib.request.urlopen(f"{self.cluster.web}/json/", timeout=10) as answer:
            return [worker["state"] for worker in json.load(answer)["workers"]]

    def kill_worker(self) -> str:
        """Kill the only worker with SIGKILL, and return its name."""
        name, worker = next((n, p) for n, p in self.cluster.processes.items() if n.startswith("worker"))
        worker.kill()
        worker.wait()
        del self.cluster.processes[name]
        return name

    # Tables.

    def snapshots(self, timeframe: str) -> list[int]:
        return published_ids(self._candles(timeframe))

    def summaries(self, timeframe: str) -> list[dict[str, str]]:
        """Return the `ohlcv.` properties of each commit's summary, oldest first, without the prefix."""
        found = [
            {name.removeprefix("ohlcv."): value for name, value in job_summary(snapshot).items()}
            for snapshot in main_snapshots(self._candles(timeframe))
        ]
        return found[::-1]

    def stored_candles(self, timeframe: str) -> dict[Any, Any]:
        """Read all candles by key. A key that is stored twice is an error."""
        return read_stored_candles(self._candles(timeframe))

    def sql(self, statement: str) -> None:
        """Change tables by `ohlcv sql`, without the jobs."""
        command = [str(Path(sys.executable).with_name("ohlcv")), "sql", statement]
        result = subprocess.run(command, env=self.airflow.environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr

    def assert_exact(self, timeframe: str, start: datetime, end: datetime) -> int:
        """Assert that DuckDB's validation finds no failure in a range, and return the number of candles."""
        result = validate(self.settings, self.settings.timeframe(timeframe), Range(start, end))
        assert result.failures == []
        return result.candles

    def _candles(self, timeframe: str) -> Any:
        return load_table(open_catalog(self.settings), candles_contract(self.settings.timeframe(timeframe)))


@contextmanager
def running_site(
    folder: Path, *, dags: Path | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[Site]:
    """Start an installation with an empty catalog, and stop it when the block ends."""
    given = {"OHLCV_HOME": str(folder / "home"), **(environment or {})}
    settings = load_settings(given)
    create_tables(settings)
    with (
        local_cluster(folder / "spark") as cluster,
        local_airflow(folder / "airflow", cluster.master, cluster.web, given | dict([QUICK_JAVA]), dags) as airflow,
    ):
        yield Site(settings, cluster, airflow)


def wait_until(time: datetime) -> None:
    """Wait for a point in time."""
    patience = (time - datetime.now(UTC)).total_seconds() + 60
    wait_for(lambda: datetime.now(UTC) >= time, f"it is {time}", POLL_SECONDS, patience)


def wait_until_no_tick(timeframe: Timeframe, duration: timedelta) -> None:
    """Wait for the next tick of a timeframe's cron expression if it is nearer than `duration`."""
    tick: datetime = croniter(timeframe.cron, datetime.now(UTC)).get_next(datetime)
    if tick - datetime.now(UTC) < duration:
        wait_until(tick)


def _to_run(answer: dict[str, Any]) -> Run:
    return Run(
        answer["dag_id"],
        answer["dag_run_id"],
        answer["state"],
        answer["run_type"],
        answer["data_interval_end"],
        answer["run_after"],
    )
