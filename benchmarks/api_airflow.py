"""Airflow's own requests while 50 clients read candles through its API server, also while the catalog hangs.

The API server has one worker process. A few clients send two of Airflow's own requests, with a pause after each. Their
times are compared with those under the same load on an endpoint of Airflow, because both share its event loop.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import httpx

from benchmarks.harness import Grid, Section, Verdict, log_progress
from benchmarks.http_load import Answers, Load, RunningLoad, percentile, run_load
from ohlcv.config.settings import Settings
from ohlcv.model.errors import OhlcvError
from ohlcv.spark.processes import HOST, START_SECONDS, descendants, free_port, start, stop
from ohlcv.spark.spark_submit import script_folder

CLIENTS, PROBES = 50, 4
# Seconds between two requests of a client that a person would send, and of a probing client.
READING_PAUSE, PROBE_PAUSE = 1.0, 0.05
SECONDS, QUICK_SECONDS = 10.0, 4.0
# The version needs no database; the second request is that of Airflow's page of DAGs.
OWN = ("/api/v2/version", "/ui/dags?dags_limit=50")
# Of the 95th percentile of Airflow's own requests. Two runs of the same load differ by up to a fifth.
MAX_RATIO = 1.25
USER = "admin"
COLUMNS = (
    *("load", "clients", "answers/s", "p50 ms", "p95 ms", "other statuses"),
    *("version p50 ms", "version p95 ms", "DAGs page p50 ms", "DAGs page p95 ms", "errors"),
)


class Airflow:
    """A running API server and a user's token."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], password: str) -> None:
        self.port = port
        self.process = process
        login = {"username": USER, "password": password}
        deadline = time.monotonic() + START_SECONDS
        while True:
            with suppress(httpx.TransportError):
                answer = httpx.post(f"http://{HOST}:{port}/auth/token", json=login, trust_env=False, timeout=60)
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise OhlcvError("Airflow's API server does not start")
            time.sleep(0.2)
        token = answer.raise_for_status().json()["access_token"]
        self.headers = {"Authorization": f"Bearer {token}", "Accept-Encoding": "identity"}

    def load(self, *targets: str, clients: int, pause: float, seconds: float, grace: float = 60.0) -> Load:
        return Load(HOST, self.port, targets, self.headers, clients, seconds, pause, grace)

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Return an answer. Raise if it is an error."""
        url = f"http://{HOST}:{self.port}{path}"
        return httpx.get(url, headers=self.headers | headers, trust_env=False, timeout=60).raise_for_status()


@contextmanager
def api_server(folder: Path, environment: dict[str, str]) -> Iterator[Airflow]:
    """Start an API server with one worker, without Airflow's other services."""
    port, password = free_port(), secrets.token_hex(12)
    logins = folder / "passwords.json"
    logins.write_text(json.dumps({USER: password}))
    settings = {
        "CORE__DAGS_FOLDER": str(script_folder().parent / "dags"),
        "CORE__PLUGINS_FOLDER": str(script_folder().parent / "plugins"),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(logins),
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/airflow.db",
        "API__BASE_URL": f"http://{HOST}:{port}",
        "API__WORKERS": "1",
        "API__SECRET_KEY": secrets.token_hex(16),
        "API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    complete = {
        **os.environ,
        "AIRFLOW_HOME": str(folder),
        **{f"AIRFLOW__{name}": value for name, value in settings.items()},
        "OHLCV_SPARK_MASTER": "spark://127.0.0.1:7077",
        **environment,
    }
    program = str(Path(sys.executable).with_name("airflow"))
    for command in (["db", "migrate"], ["dags", "reserialize"]):
        result = subprocess.run([program, *command], env=complete, capture_output=True, text=True, check=False)
        if result.returncode:
            raise OhlcvError(f"airflow {' '.join(command)} failed: {result.stderr.strip()[-500:]}")
    process = start([program, "api-server", "--host", HOST, "--port", str(port)], complete, folder / "api-server.log")
    try:
        yield Airflow(port, process, password)
    finally:
        stop(process)


@contextmanager
def _locked_catalog(settings: Settings) -> Iterator[None]:
    with closing(sqlite3.connect(str(settings.catalog.embedded_database), isolation_level=None)) as catalog:
        catalog.execute("BEGIN EXCLUSIVE")
        yield


@contextmanager
def _stopped_service(airflow: Airflow) -> Iterator[None]:
    """Stop the processes of the candle service, the supervisor first, and let them continue at the end."""
    pids = descendants(airflow.process.pid)
    names = {pid: Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in pids}
    service = [pid for pid, name in names.items() if " serve " in name or "ohlcv.web.worker" in name]
    if len(service) != 2:
        raise OhlcvError(f"expected the two processes of the candle service, found {names}")
    for pid in service:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in reversed(service):
            os.kill(pid, signal.SIGCONT)


def measure(folder: Path, settings: Settings, page: str, section: Section, quick: bool) -> None:
    """Measure Airflow's own requests under several loads. `page` is the path of 5,000 candles."""
    grid = Grid(f"Airflow's own requests, with {CLIENTS} clients reading candles through its API server", COLUMNS)
    section.grids.append(grid)
    seconds, candles = QUICK_SECONDS if quick else SECONDS, f"/ohlcv{page}"
    found: dict[str, Answers] = {}
    with api_server(folder, {"OHLCV_HOME": str(settings.home)}) as airflow:

        def add(name: str, load: Load | None, state: AbstractContextManager[None] | None = None) -> None:
            with state or nullcontext():
                running = RunningLoad(load) if load else None
                found[name] = run_load(airflow.load(*OWN, clients=PROBES, pause=PROBE_PAUSE, seconds=seconds))
                answers = running.answers() if running else None
            grid.rows.append((name, *_summary(load, answers), *_own(found[name])))
            section.measured[f"Airflow's requests: {name}"] = [{"ms": ms} for _, _, ms in found[name].rows]
            log_progress(f"{name}: {grid.rows[-1]}")

        def load(path: str, pause: float = 0.0, grace: float = 60.0) -> Load:
            return airflow.load(path, clients=CLIENTS, pause=pause, seconds=seconds + 1, grace=grace)

        etag = airflow.get(candles).headers["ETag"]
        for _ in range(2):
            run_load(airflow.load(*OWN, candles, clients=PROBES, pause=0.0, seconds=2.0)).require(200)
        add("another endpoint (version)", load(OWN[0]))
        add("candles", load(candles))
        add("candles, unchanged (304)", replace(load(candles), headers={**airflow.headers, "If-None-Match": etag}))
        add("candles, catalog locked", load(candles), _locked_catalog(settings))
        add("another endpoint (version), a request per second", load(OWN[0], READING_PAUSE))
        add("candles, a request per second", load(candles, READING_PAUSE))
        add("none", None)
        add("candles, service stopped", load(candles, grace=0.0), _stopped_service(airflow))
    compared = {
        "candles": "another endpoint (version)",
        "candles, unchanged (304)": "another endpoint (version)",
        "candles, catalog locked": "another endpoint (version)",
        "candles, a request per second": "another endpoint (version), a request per second",
        "candles, service stopped": "none",
    }
    for name, other in compared.items():
        for number, path in enumerate(OWN):
            p95, base = (
                percentile([ms for at, _, ms in found[each].rows if at == number], 95) for each in (name, other)
            )
            what = f"{path.partition('?')[0]} under the load '{name}', relative to '{other}'"
            section.verdicts.append(Verdict(what, p95 / base, MAX_RATIO))


def _summary(load: Load | None, answers: Answers | None) -> tuple[int | float | str | None, ...]:
    if load is None or answers is None:
        return 0, None, None, None, ""
    statuses = answers.statuses()
    status = 304 if "If-None-Match" in load.headers else 200
    times = answers.milliseconds(status)
    others = ", ".join(f"{count}x {code}" for code, count in sorted(statuses.items()) if code != status)
    percentiles = [percentile(times, percent) if times else None for percent in (50, 95)]
    return load.clients, len(times) / answers.wall, *percentiles, others


def _own(found: Answers) -> list[float | int | None]:
    """Return percentiles of both requests, and the number of errors."""
    times = [found.milliseconds(200, number) for number in range(len(OWN))]
    figures = [percentile(each, percent) if each else None for each in times for percent in (50, 95)]
    return [*figures, len(found.rows) - sum(map(len, times))]
