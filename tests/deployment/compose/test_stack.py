"""The compose deployment: runs, secrets, roles, the web UI, a lost worker, down and up, backup and restore."""

from __future__ import annotations

import os
import re
import signal
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from deployment.compose.stack import POLL_SECONDS, Stack
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import floor_time, iso
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES
from ohlcv.quality.report import VERDICT_KEY
from support.browser import browser
from support.processes import all_pids, command_line, wait_for

pytestmark = [pytest.mark.compose, pytest.mark.timeout(3600)]

HOUR = timedelta(hours=1)
DAGS = [timeframe.dag_id for timeframe in DEFAULT_TIMEFRAMES.values()]
# Five Spark jobs one after another, with at most three attempts each, on a machine that may be busy.
RUN_SECONDS = 1500
# Shorter values of .env are settings and user names, not secrets.
SECRET_LENGTH = 40


@pytest.fixture(scope="module")
def live(stack: Stack) -> Stack:
    """Start all services on empty volumes, with generated trades, and wait for a successful run of every timeframe."""
    begin = datetime.now(UTC)
    stack.up("demo")
    print(f"healthy from nothing after {datetime.now(UTC) - begin}")
    wait_for(lambda: "adding new trades" in stack.logs("feed"), "two days of trades are loaded", POLL_SECONDS, 600)
    for dag_id in DAGS:
        pause(stack, dag_id, False)
    for dag_id in DAGS:
        first = wait_until_ended(stack, dag_id)
        assert first["state"] == "success", stack.api().tasks(dag_id, first["dag_run_id"])
    return stack


def pause(stack: Stack, dag_id: str, paused: bool) -> None:
    wait_for(lambda: dag_id in stack.api().dags(), f"Airflow has found {dag_id}", POLL_SECONDS)
    stack.api().call("PATCH", f"/dags/{dag_id}", {"is_paused": paused})


def find_ended(stack: Stack, dag_id: str, run_id: str | None = None) -> dict[str, Any] | None:
    runs = [run for run in stack.api().runs(dag_id) if run_id in (None, run["dag_run_id"])]
    return next((run for run in runs if run["state"] in ("success", "failed")), None)


@pytest.fixture
def idle(live: Stack) -> Stack:
    """Pause all DAGs while no run is active: the rest of an active run of a paused DAG would stay undone."""
    for dag_id in DAGS:

        def is_paused(dag_id: str = dag_id) -> bool:
            if is_active(live, dag_id):
                return False
            pause(live, dag_id, True)
            if is_active(live, dag_id):
                pause(live, dag_id, False)
                return False
            return True

        wait_for(is_paused, f"{dag_id} is paused without an active run", POLL_SECONDS, RUN_SECONDS)
    return live


def is_active(stack: Stack, dag_id: str) -> bool:
    return any(run["state"] in ("queued", "running") for run in stack.api().runs(dag_id))


def test_without_env_file_the_error_names_the_command_that_writes_it(stack: Stack) -> None:
    assert "run 'make env' first" in stack.compose_error("/dev/null", "config")


def test_every_timeframe_has_a_validated_run(live: Stack) -> None:
    for dag_id in DAGS:
        run = find_ended(live, dag_id)
        assert run
        tasks = live.api().tasks(dag_id, run["dag_run_id"])
        print(dag_id, {name: round(task["duration"], 1) for name, task in tasks.items()})
        assert {name: task["state"] for name, task in tasks.items()} == {"aggregate": "success", "validate": "success"}
    print(live.podman("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}"))
    print(live.podman("images", "--format", "{{.Repository}}:{{.Tag}} {{.Size}}"))


def test_driver_and_executor_use_their_class_data_archives(live: Stack) -> None:
    pause(live, "ohlcv_1m", False)
    run = trigger(live, "ohlcv_1m")

    def use_archives() -> bool:
        # A JVM that rejects its archive does not keep it mapped.
        driver = is_mapped(live, "scheduler", 1, "driver.jsa")
        return driver and any(is_mapped(live, "spark-worker", number, "executor.jsa") for number in (1, 2))

    wait_for(use_archives, "driver and executor use their archives", 0.5, RUN_SECONDS)
    assert wait_until_ended(live, "ohlcv_1m", run)["state"] == "success"


def is_mapped(stack: Stack, service: str, number: int, name: str) -> bool:
    """Return whether a process of a container has mapped a file into its memory."""
    script = f"for maps in /proc/[0-9]*/maps; do grep -qs {name} $maps && echo found; done; true"
    return "found" in stack.execute(service, "sh", "-c", script, number=number)


def trigger(stack: Stack, dag_id: str) -> str:
    end = floor_time(datetime.now(UTC), HOUR)
    conf = {"start": iso(end - 2 * HOUR), "end": iso(end)}
    answer = stack.api().call("POST", f"/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": conf})
    return str(answer["dag_run_id"])


def wait_until_ended(stack: Stack, dag_id: str, run_id: str | None = None) -> dict[str, Any]:
    return wait_for(
        lambda: find_ended(stack, dag_id, run_id), f"{dag_id} {run_id or ''} ends", POLL_SECONDS, RUN_SECONDS
    )


def test_no_secret_is_visible(live: Stack) -> None:
    secrets = {name: value for name, value in live.env.items() if len(value) >= SECRET_LENGTH}
    assert len(secrets) >= 12
    # The containers may be new: let a task and an executor write logs.
    pause(live, "ohlcv_1m", False)
    assert wait_until_ended(live, "ohlcv_1m", trigger(live, "ohlcv_1m"))["state"] == "success"
    shown = {"command lines": "\n".join(command_line(pid) for pid in all_pids())}
    for name in live.podman("ps", "--all", "--format", "{{.Names}}").split():
        if name.startswith(live.project):
            shown[f"inspect {name}"] = live.podman("inspect", name)
            shown[f"log of {name}"] = live.logs(name.removeprefix(f"{live.project}_").rpartition("_")[0], name=name)
    shown["logs of tasks"] = live.execute("scheduler", "sh", "-c", "cat $(find /var/lib/airflow/logs -name '*.log')")
    shown["logs of executors"] = "".join(
        live.execute("spark-worker", "sh", "-c", "cat /var/lib/spark/*/*/std* 2>/dev/null; true", number=number)
        for number in (1, 2)
    )
    assert "spark application: " in shown["logs of tasks"]
    assert "Spark Executor Command" in shown["logs of executors"]
    for port, service in ((8080, "spark-master"), (8081, "spark-worker")):
        read = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{port}/').read().decode())"
        shown[f"page of {service}"] = live.execute(service, "python", "-c", read)
    image = live.podman(
        "history", "--no-trunc", live.podman("inspect", "--format", "{{.Image}}", live.container("scheduler")).strip()
    )
    shown["image"] = image
    seen = {place: [name for name, value in secrets.items() if value in text] for place, text in shown.items()}
    assert {place: names for place, names in seen.items() if names} == {}


def test_the_master_rejects_a_driver_without_the_secret(live: Stack) -> None:
    end = floor_time(datetime.now(UTC), HOUR)
    command = ["ohlcv", "build", "--timeframe", "1m", "--start", iso(end - timedelta(minutes=10)), "--end", iso(end)]
    with pytest.raises(AssertionError, match="Spark failed"):
        live.execute("scheduler", "env", "--unset=OHLCV_SPARK_SECRET_FILE", *command)
    assert re.search("SaslException|authentication|Expected SaslMessage", live.logs("spark-master"))
    live.execute("scheduler", *command)


def test_roles_have_the_documented_permissions(live: Stack) -> None:
    for user in ("viewer", "operator", "admin"):
        assert set(DAGS) <= set(live.api(user).dags())
    # The candle service reads the verdicts as this user.
    verdicts = live.api("health").call(
        "GET", "/dags/~/dagRuns/~/taskInstances/~/xcomEntries", xcom_key=VERDICT_KEY, limit=1
    )
    assert verdicts["total_entries"] >= len(DEFAULT_TIMEFRAMES)
    body = {"is_paused": True}
    with pytest.raises(OhlcvError, match="403"):
        live.api("viewer").call("PATCH", "/dags/ohlcv_retention", body)
    live.api("operator").call("PATCH", "/dags/ohlcv_retention", body)
    # Connections hold passwords, so viewers cannot read them.
    with pytest.raises(OhlcvError, match="403"):
        live.api("viewer").call("GET", "/connections/spark_default")
    assert live.api("admin").call("GET", "/connections/spark_default")["host"] == "spark://spark-master"


def test_the_web_ui_lists_the_dags_after_a_login(live: Stack, tmp_path: Path) -> None:
    with browser(tmp_path) as window:
        window.open(f"{live.url}/dags")
        wait_for(lambda: "/auth/login" in window.url and window.has("input[type=submit]"), "the login page opens", 0.5)
        window.type("input[name=username]", "admin")
        window.type("input[name=password]", live.env["AIRFLOW_ADMIN_PASSWORD"])
        window.click("input[type=submit]")
        # Airflow answers at its own address, http://localhost:PORT, for which alone the login holds.
        wait_for(lambda: urlsplit(window.url).path == "/dags", "the login leads back to the page", 0.5)
        wait_for(lambda: all(dag_id in window.text for dag_id in DAGS), "the page lists the DAGs", 0.5)


def test_a_run_survives_the_loss_of_its_worker(idle: Stack) -> None:
    run = trigger(idle, "ohlcv_1h")
    pause(idle, "ohlcv_1h", False)

    def find_busy_worker() -> int | None:
        for number in (1, 2):
            # A command fails in a worker that is restarting.
            with suppress(AssertionError):
                if "CoarseGrainedExecutorBackend" in idle.execute("spark-worker", "ps", "-ef", number=number):
                    return number
        return None

    lost = wait_for(find_busy_worker, "a worker has the run's executor", 0.5, RUN_SECONDS)
    process = idle.podman("inspect", "--format", "{{.State.Pid}}", idle.container("spark-worker", lost))
    os.kill(int(process), signal.SIGKILL)
    done = wait_until_ended(idle, "ohlcv_1h", run)
    pause(idle, "ohlcv_1h", True)
    tasks = idle.api().tasks("ohlcv_1h", run)
    print(f"worker {lost} lost; attempts: { {name: task['try_number'] for name, task in tasks.items()} }")
    assert done["state"] == "success"
    idle.wait_until_healthy()


def test_down_and_up_loses_nothing(idle: Stack) -> None:
    before = {name: idle.candles(name) for name in DEFAULT_TIMEFRAMES}
    runs = {dag_id: len(idle.api().runs(dag_id)) for dag_id in DAGS}
    idle.compose("--profile", "demo", "down")
    assert idle.containers() == {}
    idle.up()
    assert {name: idle.candles(name) for name in DEFAULT_TIMEFRAMES} == before
    assert {dag_id: len(idle.api().runs(dag_id)) for dag_id in DAGS} == runs


def test_a_restored_backup_has_the_same_candles(idle: Stack, tmp_path: Path) -> None:
    """Use the commands of docs/deployment.md."""
    before = {name: idle.candles(name) for name in DEFAULT_TIMEFRAMES}
    runs = {dag_id: len(idle.api().runs(dag_id)) for dag_id in DAGS}
    for database in ("ohlcv", "airflow"):
        dump = idle.execute_bytes("postgres", "pg_dump", "--username=postgres", "--format=custom", database)
        (tmp_path / database).write_bytes(dump)
    (tmp_path / "store").write_bytes(idle.store_tar("--create"))
    idle.compose("--profile", "demo", "down", "--volumes")
    idle.compose("up", "--detach", "--no-build", "postgres", "store")
    wait_for(lambda: not idle.unhealthy(), "databases are healthy", POLL_SECONDS)
    for database in ("ohlcv", "airflow"):
        dump = (tmp_path / database).read_bytes()
        idle.execute_bytes("postgres", "pg_restore", "--username=postgres", f"--dbname={database}", stdin=dump)
    idle.store_tar("--extract", (tmp_path / "store").read_bytes())
    idle.up()
    assert {name: idle.candles(name) for name in DEFAULT_TIMEFRAMES} == before
    assert {dag_id: len(idle.api().runs(dag_id)) for dag_id in DAGS} == runs
    # New runs succeed.
    run = trigger(idle, "ohlcv_1h")
    pause(idle, "ohlcv_1h", False)
    assert wait_until_ended(idle, "ohlcv_1h", run)["state"] == "success"
