"""REST API of an Airflow without Airflow: runs, task instances and XComs that a test sets."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ohlcv.config.settings import AirflowAddress
from ohlcv.spark.processes import HOST
from support.server_thread import running

Json = dict[str, Any]


@dataclass
class FakeAirflow:
    """State of the API, and the requests it received."""

    address: AirflowAddress = field(init=False)
    paused: dict[str, bool] = field(default_factory=dict)
    runs: list[Json] = field(default_factory=list)
    jobs: list[Json] = field(default_factory=list)
    xcoms: list[Json] = field(default_factory=list)
    # DAGs whose runs are not found.
    missing: set[str] = field(default_factory=set)
    # Runs whose XComs are listed but not found.
    cleared: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    # Only the token of the last login is valid.
    logins: int = 0
    # Whether every request is answered with an error.
    fails: bool = False
    # While clear, no request is answered.
    answers: threading.Event = field(default_factory=threading.Event)

    def add_run(self, dag_id: str, run_id: str, state: str = "success", **fields: Any) -> None:
        """Add a run. The last one added is the newest."""
        run_type = fields.pop("run_type", run_id.partition("__")[0])
        run = {"dag_id": dag_id, "dag_run_id": run_id, "state": state, "run_type": run_type}
        self.runs.insert(0, {**run, "start_date": None, "end_date": None, "conf": {}, **fields})

    def add_job(self, dag_id: str, run_id: str, duration: float | None, state: str | None = "success") -> None:
        """Add the task instance of a job. The last one added is the newest."""
        job = {"dag_id": dag_id, "dag_run_id": run_id, "task_id": "aggregate", "state": state, "duration": duration}
        self.jobs.insert(0, {**job, "start_date": "2026-03-01T12:00:05+00:00"})

    def add_verdict(self, dag_id: str, run_id: str, value: Any, timestamp: str, map_index: int = -1) -> None:
        """Add an XCom. The last one added is the newest."""
        entry = {"key": "verdict", "dag_id": dag_id, "run_id": run_id, "map_index": map_index, "timestamp": timestamp}
        self.xcoms.insert(0, {**entry, "task_id": "validate" if map_index < 0 else "one_day.validate", "value": value})

    def respond(self, path: str, query: dict[str, str]) -> Json | None:
        """Return the response to a request, None if there is no such page."""
        limit = int(query.get("limit", "50"))
        match path.split("/"):
            case ["dags"]:
                return {"dags": [{"dag_id": name, "is_paused": paused} for name, paused in self.paused.items()]}
            case ["dags", dag_id, "dagRuns"] if dag_id not in self.missing:
                runs = [run for run in self.runs if run["dag_id"] == dag_id and _matches(run, query)]
                return {"dag_runs": runs[:limit], "total_entries": len(runs)}
            case ["dags", dag_id, "dagRuns", run_id, "taskInstances"]:
                jobs = [job for job in self.jobs if job["dag_id"] == dag_id and run_id in ("~", job["dag_run_id"])]
                return {"task_instances": jobs[:limit], "total_entries": len(jobs)}
            case ["dags", dag_id, "dagRuns", "~", "taskInstances", "~", "xcomEntries"]:
                entries = [each for each in self.xcoms if (each["dag_id"], each["key"]) == (dag_id, query["xcom_key"])]
                listed = [{name: value for name, value in each.items() if name != "value"} for each in entries]
                return {"xcom_entries": listed[:limit], "total_entries": len(listed)}
            case ["dags", dag_id, "dagRuns", run_id, "taskInstances", task_id, "xcomEntries", key]:
                wanted = (dag_id, run_id, task_id, key, query["map_index"])
                names = ("dag_id", "run_id", "task_id", "key", "map_index")
                entries = [each for each in self.xcoms if tuple(str(each[name]) for name in names) == wanted]
                return entries[0] if entries and run_id not in self.cleared else None
        return None


def _matches(run: Json, query: dict[str, str]) -> bool:
    return (
        run["run_type"] == query.get("run_type", run["run_type"])
        and run["state"] in query.get("state", str(run["state"])).split(",")
        and (run["end_date"] or "") >= query.get("end_date_gte", "")
    )


@contextmanager
def fake_airflow() -> Iterator[FakeAirflow]:
    """Run the API."""
    airflow = FakeAirflow()
    airflow.answers.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            airflow.answers.wait()
            url = urlsplit(self.path)
            path = unquote(url.path).removeprefix("/api/v2/")
            airflow.requests.append(path)
            if self.headers["Authorization"] != f"Bearer token {airflow.logins}":
                self._send(401, {"detail": "the token has expired"})
                return
            query = {name: ",".join(values) for name, values in parse_qs(url.query).items()}
            response = None if airflow.fails else airflow.respond(path, query)
            self._send(200 if response is not None else 404, response or {"detail": "not found"})

        def do_POST(self) -> None:
            airflow.answers.wait()
            airflow.logins += 1
            self.rfile.read(int(self.headers["Content-Length"]))
            self._send(201, {"access_token": f"token {airflow.logins}"})

        def _send(self, status: int, body: Json) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with running(ThreadingHTTPServer((HOST, 0), Handler)) as url:
        airflow.address = AirflowAddress(url, "health", "hunter2")
        try:
            yield airflow
        finally:
            airflow.answers.set()
