"""The deployed stack, from nothing: runs, secrets, roles, the page in a browser, a lost worker, down and up, backup."""

from __future__ import annotations

import os
import re
import signal
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deployment.compose.browser import browser
from deployment.compose.stack import POLL_SECONDS, PROJECT, Stack
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import floor_time, iso
from ohlcv.model.timeframes import TIMEFRAMES
from support.processes import all_pids, command_line, wait_for

pytestmark = pytest.mark.compose

HOUR = timedelta(hours=1)
DAGS = [timeframe.dag_id for timeframe in TIMEFRAMES.values()]
# Five Spark jobs one after another, tried three times at most, beside whatever else this machine does.
RUN_SECONDS = 1500
# Less than this is a word, no secret.
SECRET_LENGTH = 40


@pytest.fixture(scope="module")
def live(stack: Stack) -> Stack:
    """Start it all on empty volumes, with made-up trades, and wait for a good run of every timeframe."""
    begin = datetime.now(UTC)
    stack.up("demo")
    print(f"healthy from nothing after {datetime.now(UTC) - begin}")
    wait_for(lambda: "adding new trades" in stack.logs("feed"), "two days of trades are there", POLL_SECONDS, 600)
    for dag_id in DAGS:
        pause(stack, dag_id, False)
    for dag_id in DAGS:
        first = finished(stack, dag_id)
        assert first["state"] == "success", stack.api().tasks(dag_id, first["dag_run_id"])
    return stack


def pause(stack: Stack, dag_id: str, paused: bool) -> None:
    wait_for(lambda: dag_id in stack.api().dags(), f"{dag_id} is known", POLL_SECONDS)
    stack.api().call("PATCH", f"/dags/{dag_id}", {"is_paused": paused})


def ended(stack: Stack, dag_id: str, run_id: str | None = None) -> dict[str, Any] | None:
    runs = [run for run in stack.api().runs(dag_id) if run_id in (None, run["dag_run_id"])]
    return next((run for run in runs if run["state"] in ("success", "failed")), None)


@pytest.fixture
def resting(live: Stack) -> Stack:
    """Let no run begin, and wait until none is under way."""
    for dag_id in DAGS:
        pause(live, dag_id, True)

    def still() -> bool:
        return not any(run["state"] in ("queued", "running") for each in DAGS for run in live.api().runs(each))

    wait_for(still, "all runs have ended", POLL_SECONDS, RUN_SECONDS)
    return live


def test_without_env_the_message_names_its_cure(stack: Stack) -> None:
    assert "run 'make env' first" in stack.compose_error("/dev/null", "config")


def test_all_timeframes_have_checked_candles(live: Stack) -> None:
    for dag_id in DAGS:
        run = ended(live, dag_id)
        assert run
        tasks = live.api().tasks(dag_id, run["dag_run_id"])
        print(dag_id, {name: round(task["duration"], 1) for name, task in tasks.items()})
        assert {name: task["state"] for name, task in tasks.items()} == {"aggregate": "success", "validate": "success"}
    print(live.podman("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}"))
    print(live.podman("images", "--format", "{{.Repository}}:{{.Tag}} {{.Size}}"))


def test_the_archives_of_classes_are_in_use(live: Stack) -> None:
    run = triggered(live, "ohlcv_1m")

    def mapped() -> bool:
        # A JVM that found its archive unfit does not keep it open.
        driver = maps(live, "scheduler", 1, "driver.jsa")
        return driver and any(maps(live, "spark-worker", number, "executor.jsa") for number in (1, 2))

    wait_for(mapped, "driver and executor use their archives", 0.5, RUN_SECONDS)
    assert finished(live, "ohlcv_1m", run)["state"] == "success"


def maps(stack: Stack, service: str, number: int, name: str) -> bool:
    look = f"for maps in /proc/[0-9]*/maps; do grep -qs {name} $maps && echo found; done; true"
    return "found" in stack.execute(service, "sh", "-c", look, number=number)


def triggered(stack: Stack, dag_id: str) -> str:
    end = floor_time(datetime.now(UTC), HOUR)
    conf = {"start": iso(end - 2 * HOUR), "end": iso(end)}
    answer = stack.api().call("POST", f"/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": conf})
    return str(answer["dag_run_id"])


def finished(stack: Stack, dag_id: str, run_id: str | None = None) -> dict[str, Any]:
    return wait_for(lambda: ended(stack, dag_id, run_id), f"{dag_id} {run_id or ''} ends", POLL_SECONDS, RUN_SECONDS)


def test_no_secret_is_to_be_seen(live: Stack) -> None:
    secrets = {name: value for name, value in live.env.items() if len(value) >= SECRET_LENGTH}
    assert len(secrets) >= 12
    shown = {"command lines": "\n".join(command_line(pid) for pid in all_pids())}
    for name in live.podman("ps", "--all", "--format", "{{.Names}}").split():
        if name.startswith(PROJECT):
            shown[f"inspect {name}"] = live.podman("inspect", name)
            shown[f"log of {name}"] = live.logs(name.removeprefix(f"{PROJECT}_").rpartition("_")[0], name=name)
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
        "history", "--no-trunc", live.podman("inspect", "--format", "{{.Image}}", live.container("feed")).strip()
    )
    shown["image"] = image
    seen = {place: [name for name, value in secrets.items() if value in text] for place, text in shown.items()}
    assert {place: names for place, names in seen.items() if names} == {}


def test_a_driver_without_the_secret_is_refused(live: Stack) -> None:
    end = floor_time(datetime.now(UTC), HOUR)
    words = ["ohlcv", "build", "--timeframe", "1m", "--start", iso(end - timedelta(minutes=10)), "--end", iso(end)]
    with pytest.raises(AssertionError, match="Spark failed"):
        live.execute("scheduler", "env", "--unset=OHLCV_SPARK_SECRET_FILE", *words)
    assert re.search("SaslException|authentication|Expected SaslMessage", live.logs("spark-master"))
    live.execute("scheduler", *words)


def test_roles_do_what_they_say(live: Stack) -> None:
    for user in ("viewer", "operator", "admin"):
        assert set(DAGS) <= set(live.api(user).dags())
    body = {"is_paused": True}
    with pytest.raises(OhlcvError, match="403"):
        live.api("viewer").call("PATCH", "/dags/ohlcv_retention", body)
    live.api("operator").call("PATCH", "/dags/ohlcv_retention", body)
    # Alerts' passwords and the way to Spark are not for those who only look.
    with pytest.raises(OhlcvError, match="403"):
        live.api("viewer").call("GET", "/connections/spark_default")
    assert live.api("admin").call("GET", "/connections/spark_default")["host"] == "spark://spark-master"


def test_the_page_answers_in_a_browser(live: Stack, tmp_path: Path) -> None:
    with browser(tmp_path) as window:
        window.open(f"{live.url}/dags")
        wait_for(lambda: "/auth/login" in window.url, "who is not logged in is asked to", 0.5)
        window.type("input[name=username]", "admin")
        window.type("input[name=password]", live.env["AIRFLOW_ADMIN_PASSWORD"])
        window.click("input[type=submit]")
        window.open(f"{live.url}/dags")
        wait_for(lambda: all(dag_id in window.text for dag_id in DAGS), "the page lists the DAGs", 0.5)


def test_a_run_survives_the_loss_of_its_worker(resting: Stack) -> None:
    run = triggered(resting, "ohlcv_1h")
    pause(resting, "ohlcv_1h", False)

    def busy() -> int | None:
        for number in (1, 2):
            # A worker that is being started again cannot be asked.
            with suppress(AssertionError):
                if "CoarseGrainedExecutorBackend" in resting.execute("spark-worker", "ps", "-ef", number=number):
                    return number
        return None

    lost = wait_for(busy, "a worker has the run's executor", 0.5, RUN_SECONDS)
    process = resting.podman("inspect", "--format", "{{.State.Pid}}", resting.container("spark-worker", lost))
    os.kill(int(process), signal.SIGKILL)
    done = finished(resting, "ohlcv_1h", run)
    pause(resting, "ohlcv_1h", True)
    tasks = resting.api().tasks("ohlcv_1h", run)
    print(f"worker {lost} lost; tries: { {name: task['try_number'] for name, task in tasks.items()} }")
    assert done["state"] == "success"
    resting.await_healthy()


def test_down_and_up_loses_nothing(resting: Stack) -> None:
    before = {name: resting.candles(name) for name in TIMEFRAMES}
    runs = {dag_id: len(resting.api().runs(dag_id)) for dag_id in DAGS}
    resting.compose("--profile", "demo", "down")
    assert resting.containers() == {}
    resting.up()
    assert {name: resting.candles(name) for name in TIMEFRAMES} == before
    assert {dag_id: len(resting.api().runs(dag_id)) for dag_id in DAGS} == runs


def test_a_restored_backup_gives_the_same_candles(resting: Stack, tmp_path: Path) -> None:
    """By the commands of docs/deployment.md."""
    before = {name: resting.candles(name) for name in TIMEFRAMES}
    runs = {dag_id: len(resting.api().runs(dag_id)) for dag_id in DAGS}
    for database in ("ohlcv", "airflow"):
        dump = resting.execute_bytes("postgres", "pg_dump", "--username=postgres", "--format=custom", database)
        (tmp_path / database).write_bytes(dump)
    (tmp_path / "store").write_bytes(resting.store_tar("--create"))
    resting.compose("--profile", "demo", "down", "--volumes")
    resting.compose("up", "--detach", "--no-build", "postgres", "store")
    wait_for(lambda: not resting.ill(), "databases are healthy", POLL_SECONDS)
    for database in ("ohlcv", "airflow"):
        dump = (tmp_path / database).read_bytes()
        resting.execute_bytes("postgres", "pg_restore", "--username=postgres", f"--dbname={database}", stdin=dump)
    resting.store_tar("--extract", (tmp_path / "store").read_bytes())
    resting.up()
    assert {name: resting.candles(name) for name in TIMEFRAMES} == before
    assert {dag_id: len(resting.api().runs(dag_id)) for dag_id in DAGS} == runs
    # And the work goes on.
    run = triggered(resting, "ohlcv_1h")
    pause(resting, "ohlcv_1h", False)
    assert finished(resting, "ohlcv_1h", run)["state"] == "success"
