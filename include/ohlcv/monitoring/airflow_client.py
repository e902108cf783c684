"""Client of Airflow's REST API. Tasks and commands read runs through it, because they cannot read the database."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from ohlcv.model.errors import OhlcvError

TIMEOUT_SECONDS = 60
# Airflow returns at most this many items per page.
PAGE_SIZE = 100


class AirflowApi:
    """REST API of one Airflow. The first call logs in."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url.rstrip("/")
        self._user = user
        self._password = password
        self._token = ""

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """Send a request to the API and return the decoded response."""
        if not self._token:
            answer = self._send("POST", "/auth/token", {"username": self._user, "password": self._password}, {})
            self._token = answer["access_token"]
        return self._send(method, f"/api/v2{path}", body, query)

    def _send(self, method: str, path: str, body: Any, query: Mapping[str, Any]) -> Any:
        request = urllib.request.Request(
            f"{self.url}{path}" + (f"?{urlencode(query, doseq=True)}" if query else ""),
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            detail = error.read().decode(errors="replace")[:500]
            raise OhlcvError(f"Airflow at {self.url} refused {method} {path}: {error.code} {detail}") from None
        except OSError as error:
            raise OhlcvError(
                f"Airflow at {self.url} does not answer ({error}): start it or check the address"
            ) from None
        return json.loads(text) if text else None

    def runs(self, dag_id: str, **query: Any) -> list[dict[str, Any]]:
        """Return all runs of a DAG, by default in the order in which they were due."""
        found: list[dict[str, Any]] = []
        while True:
            page = {"limit": PAGE_SIZE, "offset": len(found), "order_by": "run_after", **query}
            answer = self.call("GET", f"/dags/{dag_id}/dagRuns", **page)
            found += answer["dag_runs"]
            if len(answer["dag_runs"]) < PAGE_SIZE:
                return found

    def tasks(self, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        """Return the task instances of a run by task id."""
        answer = self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances")
        return {instance["task_id"]: instance for instance in answer["task_instances"]}

    def dags(self) -> dict[str, dict[str, Any]]:
        """Return the DAGs by id."""
        return {dag["dag_id"]: dag for dag in self.call("GET", "/dags", limit=100)["dags"]}
