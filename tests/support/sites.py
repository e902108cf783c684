"""A site to experiment on: Spark master and worker, Airflow's four services, a catalog of its own; all of it real."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ohlcv.config.settings import Settings, load_settings
from ohlcv.demo.local_airflow import LocalAirflow, local_airflow
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.ingest.loader import append_trades
from ohlcv.ingest.sample_data import Feed
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import Range, iso
from ohlcv.model.table_contracts import TRADES, candles_contract
from ohlcv.quality.validator import validate
from ohlcv.spark.local_cluster import LocalCluster, local_cluster
from support.harness import append, read_stored_candles
from support.processes import QUICK_JAVA, wait_for
from support.reference_model import Trade

ENDED = ("success", "failed")
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Run:
    """A DAG run as it stands now."""

    dag_id: str
    run_id: str
    state: str
    type: str
    interval_end: str | None
    run_after: str


@dataclass
class Site:
    """Everything that runs, and the questions tests ask of it."""

    settings: Settings
    cluster: LocalCluster
    airflow: LocalAirflow

    def load(self, trades: Iterable[Trade]) -> None:
        """Append trades in one commit."""
        append(load_table(open_catalog(self.settings), TRADES), trades)

    def feed(self, begin: datetime, end: datetime, trades: int) -> None:
        """Append made-up trades of eight series between two times."""
        append_trades(self.settings, Feed(begin).batch(end, trades))

    # What Airflow knows.

    def runs(self, dag_id: str, kind: str | None = None) -> list[Run]:
        """Give the runs of a DAG, oldest due first."""
        return [run for run in map(_as_run, self.airflow.runs(dag_id)) if kind in (None, run.type)]

    def run(self, dag_id: str, run_id: str) -> Run:
        return _as_run(self.airflow.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}"))

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None, logical_date: str | None = None) -> Run:
        """Start a run by hand."""
        body = {"logical_date": logical_date, "conf": conf or {}}
        return _as_run(self.airflow.call("POST", f"/dags/{dag_id}/dagRuns", body))

    def backfill(self, dag_id: str, first: datetime, last: datetime, behavior: str = "none", at_once: int = 1) -> int:
        """Create a backfill; give its id."""
        body = {
            "dag_id": dag_id,
            "from_date": iso(first),
            "to_date": iso(last),
            "reprocess_behavior": behavior,
            "max_active_runs": at_once,
            "run_backwards": False,
            "dag_run_conf": {},
        }

        def create() -> int | None:
            try:
                return int(self.airflow.call("POST", "/backfills", body)["id"])
            except OhlcvError as error:
                # On SQLite, Airflow asks to try again where the scheduler writes at the same moment.
                if "Database is locked" not in str(error):
                    raise
                return None

        return wait_for(create, f"a backfill of {dag_id} is created", POLL_SECONDS)

    def clear(self, run: Run) -> None:
        """Clear a finished run, as the button in the web UI does."""
        self.airflow.call(
            "POST", f"/dags/{run.dag_id}/dagRuns/{run.run_id}/clear", {"dry_run": False, "only_failed": False}
        )

    def ended(self, run: Run) -> Run:
        """Wait for a run's end."""

        def look() -> Run | None:
            now = self.run(run.dag_id, run.run_id)
            return now if now.state in ENDED else None

        # Three tries a minute apart, each of a job that may wait for others.
        return wait_for(look, f"{run} ends", POLL_SECONDS, patience=900)

    def succeeds(self, run: Run) -> Run:
        """Wait for a run's end, and have it be a good one."""
        ended = self.ended(run)
        assert ended.state == "success", f"{ended}\n{self.log(ended)}"
        return ended

    def quiet(self, dag_id: str) -> None:
        """Pause a DAG, and wait until none of its tasks runs; the rest of a run that is under way stays undone."""
        self.airflow.pause(dag_id)

        def still() -> bool:
            tasks = (self.airflow.tasks(dag_id, run.run_id) for run in self.runs(dag_id) if run.state == "running")
            return not any(each["state"] in ("queued", "running") for found in tasks for each in found.values())

        wait_for(still, f"{dag_id} is quiet", POLL_SECONDS)

    def first_scheduled(self, dag_id: str) -> Run:
        """Let a DAG run, and wait for its first scheduled run to end well."""
        self.airflow.unpause(dag_id)
        runs = wait_for(lambda: self.runs(dag_id, "scheduled"), f"{dag_id} is scheduled", POLL_SECONDS)
        return self.succeeds(runs[-1])

    def arguments(self, run: Run, task_id: str = "aggregate") -> dict[str, str]:
        """Give the arguments a task's job was started with."""
        fields = self.task(run, task_id)["rendered_fields"]["application_args"]
        words = fields if isinstance(fields, list) else ast.literal_eval(fields)
        return dict(zip(words[::2], words[1::2], strict=True))

    def range_of(self, run: Run) -> tuple[str, str]:
        """Give the range a run's job was told to build, and show it in the report."""
        arguments = self.arguments(run)
        told = arguments["--start"], arguments["--end"]
        print(f"{run.type:10} {run.dag_id} {run.run_id}: {' .. '.join(told)}, repair {arguments['--repair']}")
        return told

    def task(self, run: Run, task_id: str, map_index: int = -1) -> dict[str, Any]:
        path = f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{task_id}"
        found: dict[str, Any] = self.airflow.call("GET", path if map_index < 0 else f"{path}/{map_index}")
        return found

    def log(self, run: Run, task_id: str | None = None, attempt: int | None = None) -> str:
        """Read a task's log; without a task, of those that failed."""
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

    # What Spark knows.

    def applications(self) -> list[str]:
        """Name the applications the master holds for running."""
        with urllib.request.urlopen(f"{self.cluster.web}/json/", timeout=10) as answer:
            return [application["name"] for application in json.load(answer)["activeapps"]]

    def worker_states(self) -> list[str]:
        with urllib.request.urlopen(f"{self.cluster.web}/json/", timeout=10) as answer:
            return [worker["state"] for worker in json.load(answer)["workers"]]

    # What the tables hold.

    def snapshots(self, timeframe: str) -> list[int]:
        return [snapshot.snapshot_id for snapshot in self._candles(timeframe).snapshots()]

    def summaries(self, timeframe: str) -> list[dict[str, str]]:
        """Give our part of the commits' summaries, oldest first."""
        return [
            {
                name.removeprefix("ohlcv."): value
                for name, value in (snapshot.summary.additional_properties if snapshot.summary else {}).items()
                if name.startswith("ohlcv.")
            }
            for snapshot in self._candles(timeframe).snapshots()
        ]

    def stored(self, timeframe: str) -> dict[Any, Any]:
        """Read all candles by key; a key stored twice is an error."""
        return read_stored_candles(self._candles(timeframe))

    def sql(self, statement: str) -> None:
        """Change tables past the jobs, as somebody at a prompt would."""
        command = [str(Path(sys.executable).with_name("ohlcv")), "sql", statement]
        result = subprocess.run(command, env=self.airflow.environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr

    def assert_exact(self, timeframe: str, start: datetime, end: datetime) -> int:
        """Have another engine find nothing missing, extra or wrong in a range; give the number of candles."""
        verdict = validate(self.settings, self.settings.timeframe(timeframe), Range(start, end))
        assert verdict.failures == []
        return verdict.candles

    def _candles(self, timeframe: str) -> Any:
        return load_table(open_catalog(self.settings), candles_contract(self.settings.timeframe(timeframe)))


@contextmanager
def running_site(
    folder: Path, *, dags: Path | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[Site]:
    """Start everything on an empty catalog; leaving the block ends it."""
    given = {"OHLCV_HOME": str(folder / "home"), **(environment or {})}
    settings = load_settings(given)
    create_tables(settings)
    with (
        local_cluster(folder / "spark") as cluster,
        local_airflow(folder / "airflow", cluster.master, cluster.web, given | dict([QUICK_JAVA]), dags) as airflow,
    ):
        yield Site(settings, cluster, airflow)


def clock(time: datetime) -> None:
    """Wait for a time of day."""
    wait_for(lambda: datetime.now(UTC) >= time, f"it is {time}", POLL_SECONDS, patience=900)


def _as_run(answer: dict[str, Any]) -> Run:
    return Run(
        answer["dag_id"],
        answer["dag_run_id"],
        answer["state"],
        answer["run_type"],
        answer["data_interval_end"],
        answer["run_after"],
    )
