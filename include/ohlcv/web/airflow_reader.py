"""Runs and verdicts in Airflow, read through its REST API for the pipeline and quality documents."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus
from itertools import chain, zip_longest
from typing import Any
from urllib.parse import quote

from ohlcv.config.settings import AirflowAddress, Settings
from ohlcv.monitoring.airflow_client import AirflowApi, RefusedRequestError
from ohlcv.monitoring.health import JOB_TASK, RunCounts, count_runs
from ohlcv.quality.report import VERDICT_KEY
from ohlcv.web.refreshed import Refreshed

RETENTION_DAG, REPROCESS_DAG = "ohlcv_retention", "ohlcv_reprocess"
REQUEST_SECONDS = 10.0
# Runs change every few minutes, and the page asks every few seconds.
RUNS_SECONDS, VERDICTS_SECONDS = 5.0, 10.0
# Runs and verdicts of a DAG whose newest run has not changed are listed again after this time: older runs may have been
# cleared. Airflow has no index for the lists, so each reads all runs of the DAG.
UNCHANGED_SECONDS = 60.0
DURATIONS = 100
RETENTION_RUNS = 20
# Verdicts per DAG, and the time that one refresh may spend on reading new ones: the next refresh reads the rest.
VERDICTS = 20
NEW_VERDICTS_SECONDS = 1.5
NO_RUNS = RunCounts(0, 0)
NOT_CONFIGURED = (
    "OHLCV_AIRFLOW_URL is not set: set it, OHLCV_AIRFLOW_USER and OHLCV_AIRFLOW_PASSWORD to see runs and verdicts"
)

Json = dict[str, Any]
# DAG, run, task, map index and time of an XCom. What it identifies never changes.
EntryKey = tuple[str, str, str, int, str]


@dataclass(frozen=True)
class DagFacts:
    """Runs of one candle DAG."""

    paused: bool | None = None
    # The run that was due last, of any type, and the duration of its job.
    last_run: Json | None = None
    last_duration: float | None = None
    counts: RunCounts = NO_RUNS
    # Task instances of the jobs of the newest scheduled runs, newest first.
    jobs: tuple[Json, ...] = ()


@dataclass(frozen=True)
class Runs:
    """Runs of the candle DAGs by DAG id, and the newest successful runs of the retention DAG."""

    dags: Mapping[str, DagFacts]
    retention: tuple[Json, ...]


@dataclass(frozen=True)
class Verdict:
    """The XCom of a validation task: its origin and its value, one entry per timeframe."""

    dag_id: str
    run_id: str
    map_index: int
    value: Any


class AirflowReader:
    """Reader of one Airflow that remembers what cannot change."""

    def __init__(self, address: AirflowAddress, dag_ids: Sequence[str]) -> None:
        self._api = AirflowApi(address.url, address.user, address.password, REQUEST_SECONDS)
        self._dag_ids = dag_ids
        self._known_dags: dict[str, tuple[float, Any, DagFacts]] = {}
        self._known_lists: dict[str, tuple[float, Any, list[EntryKey]]] = {}
        self._known_verdicts: dict[EntryKey, Verdict] = {}
        self.runs = Refreshed(self._read_runs, RUNS_SECONDS)
        self.verdicts = Refreshed(self._read_verdicts, VERDICTS_SECONDS)

    def _read_runs(self) -> Runs:
        dags = self._api.dags()
        found = {
            dag_id: replace(self._read_dag(dag_id), paused=dags[dag_id].get("is_paused"))
            for dag_id in self._dag_ids
            if dag_id in dags
        }
        retention: list[Json] = []
        if RETENTION_DAG in dags:
            retention, _ = self._api.newest_runs(RETENTION_DAG, RETENTION_RUNS, state="success", order_by="-end_date")
        return Runs(found, tuple(retention))

    def _read_dag(self, dag_id: str) -> DagFacts:
        last_run, state = self._newest_run(dag_id)
        read_at, known_state, known = self._known_dags.get(dag_id, (0.0, None, DagFacts()))
        if state == known_state and time.monotonic() < read_at + UNCHANGED_SECONDS:
            return known
        jobs, _ = self._api.page(
            f"/dags/{dag_id}/dagRuns/~/taskInstances",
            "task_instances",
            ("dag_run_id", "state", "start_date", "duration"),
            task_id=JOB_TASK,
            run_id_prefix_pattern="scheduled__",
            order_by="-run_after",
            limit=DURATIONS,
        )
        facts = DagFacts(
            last_run=last_run,
            last_duration=None if last_run is None else self._job_duration(dag_id, last_run["dag_run_id"]),
            counts=count_runs(self._api, dag_id, datetime.now(UTC)),
            jobs=tuple(jobs),
        )
        self._known_dags[dag_id] = time.monotonic(), state, facts
        return facts

    def _newest_run(self, dag_id: str) -> tuple[Json | None, Any]:
        """Return the newest run of a DAG, and what changes with every new, started or ended run."""
        runs, total = self._api.newest_runs(dag_id, 1)
        return next(iter(runs), None), [
            total,
            *([run["dag_run_id"], run["state"], run.get("end_date")] for run in runs),
        ]

    def _job_duration(self, dag_id: str, run_id: str) -> float | None:
        duration = self._api.tasks(dag_id, run_id).get(JOB_TASK, {}).get("duration")
        return duration if isinstance(duration, int | float) else None

    def _read_verdicts(self) -> tuple[Verdict, ...]:
        """Return the newest verdicts of each DAG, newest first."""
        listed = [self._list_verdicts(dag_id) for dag_id in (*self._dag_ids, REPROCESS_DAG)]
        keys = [key for key in chain.from_iterable(zip_longest(*listed)) if key is not None]
        self._known_verdicts = {key: self._known_verdicts[key] for key in keys if key in self._known_verdicts}
        deadline = time.monotonic() + NEW_VERDICTS_SECONDS
        for key in keys:
            if key not in self._known_verdicts and time.monotonic() < deadline:
                self._read_verdict(key)
        newest_first = sorted(keys, key=lambda key: key[-1], reverse=True)
        return tuple(self._known_verdicts[key] for key in newest_first if key in self._known_verdicts)

    def _list_verdicts(self, dag_id: str) -> list[EntryKey]:
        try:
            _, state = self._newest_run(dag_id)
        except RefusedRequestError as error:
            # The DAG is not deployed.
            if error.status == HTTPStatus.NOT_FOUND:
                return []
            raise
        read_at, known_state, known = self._known_lists.get(dag_id, (0.0, None, []))
        if state == known_state and time.monotonic() < read_at + UNCHANGED_SECONDS:
            return known
        entries, _ = self._api.page(
            f"/dags/{dag_id}/dagRuns/~/taskInstances/~/xcomEntries",
            "xcom_entries",
            ("dag_id", "run_id", "task_id", "map_index", "timestamp"),
            xcom_key=VERDICT_KEY,
            order_by="-timestamp",
            limit=VERDICTS,
        )
        keys = [_entry_key(entry) for entry in entries]
        self._known_lists[dag_id] = time.monotonic(), state, keys
        return keys

    def _read_verdict(self, key: EntryKey) -> None:
        dag_id, run_id, task_id, map_index, _ = key
        path = f"/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/{task_id}/xcomEntries/{VERDICT_KEY}"
        try:
            entry = self._api.call("GET", path, map_index=map_index)
        except RefusedRequestError as error:
            # The task has been cleared since the entries were listed.
            if error.status == HTTPStatus.NOT_FOUND:
                return
            raise
        if _entry_key(entry) == key:
            self._known_verdicts[key] = Verdict(dag_id, run_id, map_index, entry["value"])


def _entry_key(entry: Json) -> EntryKey:
    return entry["dag_id"], entry["run_id"], entry["task_id"], entry["map_index"], entry["timestamp"]


def airflow_reader(settings: Settings) -> AirflowReader | None:
    """Return the reader of the Airflow in the settings, None if they contain none."""
    if settings.airflow is None:
        return None
    return _reader(settings.airflow, tuple(timeframe.dag_id for timeframe in settings.timeframes.values()))


@lru_cache(maxsize=1)
def _reader(address: AirflowAddress, dag_ids: tuple[str, ...]) -> AirflowReader:
    return AirflowReader(address, dag_ids)


def airflow_document(problem: str | None) -> Json:
    """Return whether Airflow can be reached, as a part of the documents."""
    return {"reachable": problem is None, "detail": problem}
