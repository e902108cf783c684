"""Client of Airflow's REST API. Tasks and commands read runs through it, because they cannot read the database."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, urlencode

from ohlcv.model.errors import OhlcvError
from ohlcv.monitoring.http_json import UnusableResponseError, fetch_json

TIMEOUT_SECONDS = 60
# Airflow returns at most this many items per page. A server that never ends its pages is not Airflow.
PAGE_SIZE = 100
MAX_PAGES = 1_000
# Prefix of the ids of all DAGs of this project.
DAG_PREFIX = "ohlcv_"


class RefusedRequestError(OhlcvError):
    """Airflow answered a request with an error status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class AirflowApi:
    """REST API of one Airflow. The first call logs in, and so does a call whose token has expired."""

    def __init__(self, url: str, user: str, password: str, timeout: float = TIMEOUT_SECONDS) -> None:
        self.url = url.rstrip("/")
        self._user = user
        self._password = password
        self._timeout = timeout
        self._token = ""

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """Send a request to the API and return the decoded response."""
        if self._token:
            try:
                return self._send(method, f"/api/v2{path}", body, query)
            except RefusedRequestError as error:
                if error.status != HTTPStatus.UNAUTHORIZED:
                    raise
        self._log_in()
        return self._send(method, f"/api/v2{path}", body, query)

    def _log_in(self) -> None:
        self._token = ""
        answer = self._send("POST", "/auth/token", {"username": self._user, "password": self._password}, {})
        if not isinstance(answer, dict) or not isinstance(answer.get("access_token"), str):
            raise self.unexpected("/auth/token")
        self._token = answer["access_token"]

    def _send(self, method: str, path: str, body: Any, query: Mapping[str, Any]) -> Any:
        request = urllib.request.Request(
            f"{self.url}{path}" + (f"?{urlencode(query, doseq=True)}" if query else ""),
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"},
        )
        try:
            return fetch_json(request, self._timeout)
        except urllib.error.HTTPError as error:
            detail = self._detail(error)
            message = f"Airflow at {self.url} refused {method} {path}: {error.code}{detail}"
            raise RefusedRequestError(message, error.code) from None
        except UnusableResponseError as error:
            raise OhlcvError(
                f"Airflow at {self.url} does not answer ({error}): start it or check the address"
            ) from None

    def _detail(self, error: urllib.error.HTTPError) -> str:
        """Return the reason of an error status, without the password, which a server may repeat."""
        try:
            detail = json.loads(error.read(65_536))["detail"]
        except (OSError, HTTPException, ValueError, LookupError, TypeError, RecursionError):
            return ""
        return f" {detail[:500]}".replace(self._password, "…") if isinstance(detail, str) else ""

    def unexpected(self, path: str) -> OhlcvError:
        """Return the error of a response that Airflow would not give."""
        return OhlcvError(f"the response of {self.url} to {path} is not that of Airflow: check the address")

    def page(self, path: str, name: str, keys: tuple[str, ...], **query: Any) -> tuple[list[dict[str, Any]], Any]:
        """Return the list of a response, and the number of matching items on all pages.

        Raise OhlcvError unless the list contains objects with these keys.
        """
        answer = self.call("GET", path, **query)
        items = answer.get(name) if isinstance(answer, dict) else None
        if not isinstance(items, list) or not all(isinstance(each, dict) and each.keys() >= {*keys} for each in items):
            raise self.unexpected(path)
        return items, answer.get("total_entries")

    def newest_runs(self, dag_id: str, limit: int, **query: Any) -> tuple[list[dict[str, Any]], int]:
        """Return the newest runs of a DAG, at most one page of them, and the number of all matching runs."""
        path = f"/dags/{dag_id}/dagRuns"
        query = {"limit": limit, "order_by": "-run_after", **query}
        runs, total = self.page(path, "dag_runs", ("dag_run_id", "state"), **query)
        if not isinstance(total, int):
            raise self.unexpected(path)
        return runs, total

    def runs(self, dag_id: str, **query: Any) -> list[dict[str, Any]]:
        """Return all runs of a DAG, by default in the order in which they were due."""
        path = f"/dags/{dag_id}/dagRuns"
        found: list[dict[str, Any]] = []
        for _ in range(MAX_PAGES):
            page = {"limit": PAGE_SIZE, "offset": len(found), "order_by": "run_after", **query}
            runs, _ = self.page(path, "dag_runs", ("dag_run_id", "state"), **page)
            found += runs
            if len(runs) < PAGE_SIZE:
                return found
        raise OhlcvError(f"Airflow at {self.url} lists more than {MAX_PAGES * PAGE_SIZE} runs of {dag_id}")

    def tasks(self, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        """Return the task instances of a run by task id."""
        path = f"/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances"
        instances, _ = self.page(path, "task_instances", ("task_id",))
        return {str(instance["task_id"]): instance for instance in instances}

    def dags(self) -> dict[str, dict[str, Any]]:
        """Return the DAGs of this project by id."""
        dags, _ = self.page("/dags", "dags", ("dag_id",), limit=PAGE_SIZE, dag_id_prefix_pattern=DAG_PREFIX)
        return {str(dag["dag_id"]): dag for dag in dags}
