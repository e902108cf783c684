"""Hostile requests to a running Airflow: to the candle API behind its gateway, and for runs of the DAGs.

`SEED=7 CASE=12 .venv/bin/python -m pytest -m services tests/services/test_hostile_requests.py` repeats one.
"""

from __future__ import annotations

import json
import os
import random
import socket
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from hostile.api_checks import problems_of
from hostile.api_requests import BASE, ApiRequest, api_request
from hostile.expected_runs import REFUSED, expected_run
from hostile.run_requests import CANDLES, REPROCESS, RETENTION, SHARES, RunRequest, run_request
from ohlcv.coverage.recording import record_coverage
from ohlcv.model.intervals import to_microseconds
from ohlcv.spark.processes import descendants
from ohlcv.web.supervisor import MEMORY_LIMIT, resident_bytes
from support.processes import command_line, wait_for
from support.sites import Run, Site

# On a busy machine the runs take a quarter of an hour.
pytestmark = [pytest.mark.services, pytest.mark.timeout(3_600)]

SEED = int(os.environ.get("SEED") or 1)
API_CASES, RUN_CASES = 60, 40
# Seconds that a run on an idle machine takes, about; a request for a longer one is replaced by the next.
MAX_SECONDS = 40
REQUEST_SECONDS = 120
# Requests that are no HTTP.
MALFORMED = (
    b"\x00\xff\x16\x03\x01" * 50,
    b"GET /ohlcv/api/v1/candles HTTP/9.9\r\n\r\n",
    b"GET /ohlcv/api/v1/candles?timeframe=1h HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    b"POST /api/v2/dags/ohlcv_1h/dagRuns HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    b"GET /ohlcv/docs HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n",
    b"GET /ohlcv/\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
)


@pytest.fixture(scope="module")
def ready_site(site: Site) -> Site:
    """Return a site with candles of an hourly table, and a recorded coverage."""
    now = datetime.now(UTC)
    site.generate_trades(now - timedelta(hours=3), now, trades=2_000)
    record_coverage(site.settings, now)
    site.complete_first_scheduled_run("ohlcv_1h")
    site.pause_and_wait("ohlcv_1h")
    return site


def token(site: Site) -> dict[str, str]:
    login = {"username": "admin", "password": site.airflow.passwords["admin"]}
    answer = httpx.post(f"{site.airflow.url}/auth/token", json=login, trust_env=False, timeout=REQUEST_SECONDS)
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


def numbers(cases: int) -> Iterator[int]:
    case = os.environ.get("CASE")
    return iter([int(case)] if case else range(1, cases + 1))


def workers(site: Site) -> list[int]:
    """Return the worker processes of the candle service."""
    pids = descendants(site.airflow.processes["api-server"].pid)
    return [pid for pid in pids if "ohlcv.web.worker" in command_line(pid)]


def test_hostile_requests_to_the_candle_api_of_a_running_airflow(ready_site: Site) -> None:
    rows = [
        {"micros": start, "symbol": symbol, "exchange": exchange}
        for symbol, exchange, start in ready_site.stored_candles("1h")
    ]
    series = sorted({(row["symbol"], row["exchange"]) for row in rows})
    names = {path: ["symbol", "exchange", "start", "limit", "cursor", "search", "time", "to"] for path in BASE}
    counts: Counter[int] = Counter()
    failures = []
    with httpx.Client(base_url=ready_site.airflow.url, trust_env=False, timeout=REQUEST_SECONDS) as client:
        client.headers.update(token(ready_site))

        def send(request: ApiRequest) -> httpx.Response:
            headers = {name: value for name, value in request.headers.items() if value.isascii()}
            return client.request(request.method, f"/ohlcv{request.target}", headers=headers, content=request.body)

        everything = ApiRequest("/api/v1/candles?timeframe=1h&limit=5000")
        assert len(send(everything).json()["candles"]) == len(rows)
        before = workers(ready_site)
        for number in numbers(API_CASES):
            rng = random.Random(f"{SEED}/api/{number}")
            request = api_request(rng, int(time.time()) - 3_600, series, names)
            response = send(request)
            counts[response.status_code] += 1
            found = list(problems_of(request, response, rows))
            failures += (
                [f"SEED={SEED} CASE={number}: {request.method} {request.target[:300]}: {found}"] if found else []
            )
        for data in MALFORMED:
            assert b"Traceback" not in answer_of(ready_site, data)
        assert len(send(everything).json()["candles"]) == len(rows)
    print("answers by status:", dict(sorted(counts.items())))
    assert not failures, "\n".join(failures)
    assert workers(ready_site) == before
    assert resident_bytes(before[0]) < MEMORY_LIMIT
    assert tracebacks(ready_site.airflow.folder / "api-server.log") == []


def answer_of(site: Site, data: bytes) -> bytes:
    """Return the answer to bytes that are no HTTP, or what arrives before the server closes the connection."""
    port = int(site.airflow.url.rpartition(":")[2])
    found = b""
    with socket.create_connection(("127.0.0.1", port), timeout=REQUEST_SECONDS) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65_536):
                found += part
        except ConnectionError:
            pass
    return found


def tracebacks(log: Path) -> list[str]:
    """Return the lines of tracebacks in a log that name code of the project."""
    return [
        line for line in log.read_text(errors="replace").splitlines() if "include/ohlcv" in line and "line " in line
    ]


def test_hostile_requests_for_runs_of_a_running_airflow(ready_site: Site) -> None:
    for dag_id in SHARES:
        unpause(ready_site, dag_id)
    counts: Counter[str] = Counter()
    failures = []
    accepted: list[tuple[int, RunRequest, Run]] = []
    with httpx.Client(base_url=ready_site.airflow.url, trust_env=False, timeout=REQUEST_SECONDS) as client:
        client.headers.update(token(ready_site))
        for number, request in requests():
            path = f"/api/v2/dags/{request.dag_id}/dagRuns"
            content = json.dumps(request.body).encode()
            response = client.post(path, content=content, headers={"Content-Type": "application/json"})
            counts[f"{request.dag_id}: {response.status_code}"] += 1
            if "Traceback" in response.text:
                failures.append(f"SEED={SEED} CASE={number}: {response.text[:500]}")
            if response.status_code == httpx.codes.OK:
                run_id = response.json()["dag_run_id"]
                accepted.append((number, request, ready_site.run(request.dag_id, run_id)))
            elif request.outcome == "accepted" and not request.fields:
                failures.append(f"SEED={SEED} CASE={number}: {response.status_code} {response.text[:500]}")
    for number, request, run in accepted:
        found = list(problems_of_run(ready_site, request, run))
        failures += [f"SEED={SEED} CASE={number}: {request.dag_id} {str(request.body)[:300]}: {found}"] if found else []
    print(f"{len(accepted)} runs;", dict(sorted(counts.items())))
    ready_site.airflow.check_alive()
    assert not failures, "\n".join(failures)
    assert tracebacks(ready_site.airflow.folder / "api-server.log") == []


def unpause(site: Site, dag_id: str) -> None:
    """Unpause a DAG, and end its scheduled run: that of reprocessing or retention would delay the others by minutes."""
    site.airflow.unpause(dag_id)
    for run in wait_for(lambda: site.runs(dag_id, "scheduled"), f"{dag_id} is scheduled"):
        site.airflow.call("PATCH", f"/dags/{dag_id}/dagRuns/{run.run_id}", {"state": "failed"})


def requests() -> Iterator[tuple[int, RunRequest]]:
    """Yield requests whose runs take no long time."""
    numbered = numbers(10 * RUN_CASES)
    left = RUN_CASES
    for number in numbered:
        request = run_request(random.Random(f"{SEED}/run/{number}"), int(time.time()) - 600)
        if left and seconds_of(request) <= MAX_SECONDS:
            left -= 1
            yield number, request


def seconds_of(request: RunRequest) -> int:
    expected = expected_run(request, None, to_microseconds(datetime.now(UTC)), today())
    if expected == REFUSED or request.dag_id not in (*CANDLES, REPROCESS, RETENTION):
        return 10
    if request.dag_id == RETENTION:
        return 10 if expected["dry_run"] else 1_000
    if request.dag_id == REPROCESS:
        return 20 * int(expected["days"])
    days = (expected["range"][1] - expected["range"][0]) // (86_400 * 1_000_000)
    return 20 if days < 10_000 else 1_000


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def problems_of_run(site: Site, request: RunRequest, run: Run) -> Iterator[str]:
    """Yield what is wrong with a run that Airflow created."""
    due = datetime.fromisoformat(run.run_after)
    if due > datetime.now(UTC):
        if site.run(run.dag_id, run.run_id).state != "queued":
            yield "a run started before it was due"
        site.airflow.call("PATCH", f"/dags/{run.dag_id}/dagRuns/{run.run_id}", {"state": "failed"})
        return
    end = run.interval_end and to_microseconds(datetime.fromisoformat(run.interval_end))
    expected = expected_run(request, end or None, to_microseconds(due), today())
    ended = site.wait_until_ended(run)
    if ended.state != "failed" and expected == REFUSED:
        yield f"the run must be refused: {ended.state}"
    elif expected == REFUSED or request.outcome == "either":
        yield from problems_of_failure(site, ended)
    elif ended.state != "success":
        yield f"the run {ended.state}: {site.log(ended)[-1_500:]}"
    elif run.dag_id in CANDLES:
        start, stop = (to_microseconds(datetime.fromisoformat(text)) for text in site.job_range(run))
        if [start, stop] != expected["range"]:
            yield f"wrong range: {site.job_range(run)}, expected {expected}"


def problems_of_failure(site: Site, run: Run) -> Iterator[str]:
    """Yield what is wrong with a failed run: its first task fails at its first try with an error of one line."""
    for name, each in site.airflow.tasks(run.dag_id, run.run_id).items():
        if each["state"] != "failed":
            continue
        log = site.log(run, name)
        if each["try_number"] != 1:
            yield f"{name}: {each['try_number']} tries: {log[-1_500:]}"
        details = [line for line in log.splitlines() if line.startswith("[{")]
        kinds = {error["exc_type"] for line in details for error in json.loads(line)}
        if kinds - {"AirflowFailException"}:
            yield f"{name}: {kinds}: {log[-1_500:]}"
