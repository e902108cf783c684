"""Airflow's four services on the loopback address, for the demo and the tests."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from ohlcv.demo.local_postgres import postgres_server
from ohlcv.model.errors import OhlcvError
from ohlcv.monitoring.airflow_client import AirflowApi
from ohlcv.orchestration.prerequisites import SPARK_CONNECTION, pools, spark_connection
from ohlcv.spark.processes import HOST, START_SECONDS, free_port, parent_of, start, stop
from ohlcv.spark.spark_submit import job_environment, script_folder

SERVICES = ("api-server", "dag-processor", "scheduler", "triggerer")
USER, VIEWER = "admin", "viewer"
# Roles of the users in Airflow's simple auth manager, and the files with their generated passwords.
ROLES = {USER: "admin", VIEWER: "viewer"}
PASSWORD_FILES = {USER: "password", VIEWER: "viewer-password"}
LOGINS_FILE = "passwords.json"
# Tasks running at a time: Spark jobs share one slot anyway, the others validate.
PARALLELISM = 4
# Task processes inherit the connections of their scheduler. If it is killed, they would keep its transaction open, and
# the runs that the transaction has locked would never go on.
DATABASE_OPTIONS = "options=-cidle_in_transaction_session_timeout=60s"
# The environment of a running Airflow, for `ohlcv env` and `ohlcv airflow`.
ENVIRONMENT_FILE = "environment.json"


class LocalAirflow(AirflowApi):
    """A running Airflow: its processes, environment, passwords by user and REST API."""

    def __init__(self, url: str, passwords: Mapping[str, str], environment: dict[str, str], folder: Path) -> None:
        super().__init__(url, USER, passwords[USER])
        self.passwords = passwords
        self.environment = environment
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start_service(self, name: str) -> None:
        """Start a service. Its log is NAME.log; that of an earlier start is replaced."""
        port = str(urlsplit(self.url).port)
        arguments = [name, "--port", port, "--host", HOST] if name == "api-server" else [name]
        command = [str(Path(sys.executable).with_name("airflow")), *arguments]
        self.processes[name] = start(command, self.environment, self.folder / f"{name}.log")

    def check_alive(self) -> None:
        """Raise if a service has ended."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise OhlcvError(f"Airflow's {name} has ended: see {self.folder / f'{name}.log'}")

    def unpause(self, *dag_ids: str) -> None:
        """Unpause DAGs as soon as the DAG processor has found them."""
        deadline = time.monotonic() + START_SECONDS
        for dag_id in dag_ids:
            while dag_id not in self.dags():
                if time.monotonic() > deadline:
                    errors = self.call("GET", "/importErrors")["import_errors"]
                    why = errors[0]["stack_trace"].strip().splitlines()[-1] if errors else "see dag-processor.log"
                    raise OhlcvError(f"Airflow does not find the DAG {dag_id}: {why}")
                time.sleep(0.5)
            self.pause(dag_id, False)

    def pause(self, dag_id: str, paused: bool = True) -> None:
        """Pause or unpause a DAG."""
        self.call("PATCH", f"/dags/{dag_id}", {"is_paused": paused})

    def command(self, *arguments: str) -> str:
        """Run an `airflow` command against this Airflow."""
        result = subprocess.run(
            [str(Path(sys.executable).with_name("airflow")), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise OhlcvError(f"airflow {' '.join(arguments)} failed: {(result.stderr or result.stdout).strip()[-500:]}")
        return result.stdout


@contextmanager
def local_airflow(
    folder: Path,
    master: str,
    spark_web: str,
    environment: Mapping[str, str],
    dags: Path | None = None,
    preferred_port: int = 0,
) -> Iterator[LocalAirflow]:
    """Start Airflow on a free port with its database, pool and connection; stop it at the end of the block."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port(preferred_port)
    with ExitStack() as stack:
        settings = {
            **_settings(folder, port, master, spark_web, dags or script_folder().parent / "dags"),
            **_database_settings(folder, stack),
            **environment,
        }
        airflow = LocalAirflow(f"http://{HOST}:{port}", _passwords(folder), {**os.environ, **settings}, folder)
        airflow.command("db", "migrate")
        pool_file = folder / "pools.json"
        pool_file.write_text(json.dumps(pools()))
        airflow.command("pools", "import", str(pool_file))
        stack.callback(_stop_services, airflow)
        for name in SERVICES:
            airflow.start_service(name)
        _await_healthy(airflow)
        stack.enter_context(published_environment(folder, settings))
        yield airflow


def _stop_services(airflow: LocalAirflow) -> None:
    for name in ("scheduler", "triggerer", "dag-processor", "api-server"):
        if name in airflow.processes:
            stop(airflow.processes[name], grace_seconds=20)


@contextmanager
def published_environment(folder: Path, settings: Mapping[str, str]) -> Iterator[None]:
    """Write the environment of the services to a file that only this account can read, as long as they run."""
    path = folder / ENVIRONMENT_FILE
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps({"process": os.getpid(), "environment": dict(settings)}, indent=1))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def read_environment(folder: Path) -> dict[str, str]:
    """Return the environment of the Airflow that runs in a folder. Raise where none runs."""
    missing = f"no demo runs in {folder.parent}: start it with 'make demo', or set OHLCV_HOME to the demo's home"
    try:
        published = json.loads((folder / ENVIRONMENT_FILE).read_text())
    except FileNotFoundError:
        raise OhlcvError(missing) from None
    except PermissionError:
        raise OhlcvError(f"{folder / ENVIRONMENT_FILE} cannot be read: use the account that runs the demo") from None
    if parent_of(published["process"]) is None:
        raise OhlcvError(missing)
    environment: dict[str, str] = published["environment"]
    return environment


def _passwords(folder: Path) -> dict[str, str]:
    """Return the generated passwords of the users, and write them in the format of Airflow's simple auth manager."""
    passwords = {}
    for user, name in PASSWORD_FILES.items():
        path = folder / name
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_urlsafe(12))
        passwords[user] = path.read_text()
    logins = folder / LOGINS_FILE
    logins.touch(mode=0o600)
    logins.write_text(json.dumps(passwords))
    return passwords


def fernet_key(folder: Path) -> str:
    """Return the key that encrypts values in the metadata database, for example those of deferred tasks."""
    path = folder / "fernet-key"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())
    return path.read_text()


def _settings(folder: Path, port: int, master: str, spark_web: str, dags: Path) -> dict[str, str]:
    settings = {
        "CORE__DAGS_FOLDER": str(dags),
        "CORE__PLUGINS_FOLDER": str(script_folder().parent / "plugins"),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": str(PARALLELISM),
        "CORE__FERNET_KEY": fernet_key(folder),
        "CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in ROLES.items()),
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(folder / LOGINS_FILE),
        "CORE__EXECUTION_API_SERVER_URL": f"http://{HOST}:{port}/execution/",
        "API__BASE_URL": f"http://{HOST}:{port}",
        "API__HOST": HOST,
        "API__PORT": str(port),
        "API__WORKERS": "1",
        "API__SECRET_KEY": secrets.token_hex(16),
        "API_AUTH__JWT_SECRET": secrets.token_hex(32),
        # The executor's log server would otherwise bind a fixed port on all addresses.
        "LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
        "LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
        "SCHEDULER__ENABLE_HEALTH_CHECK": "False",
        # The scheduler sleeps this long between two steps of a run. The default of one second is a tenth of a 1m run.
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.25",
        "DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        # A changed file is parsed at once. Parsing unchanged ones would take CPU time from the jobs.
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    return {
        **_changes(job_environment(master)),
        "AIRFLOW_HOME": str(folder),
        **{f"AIRFLOW__{name}": value for name, value in settings.items()},
        f"AIRFLOW_CONN_{SPARK_CONNECTION.upper()}": json.dumps(spark_connection(master)),
        "OHLCV_SPARK_WEB": spark_web,
        "OHLCV_AIRFLOW_URL": f"http://{HOST}:{port}",
        "OHLCV_AIRFLOW_USER": USER,
        "OHLCV_AIRFLOW_PASSWORD_FILE": str(folder / PASSWORD_FILES[USER]),
        # SparkSubmitOperator searches spark-submit on the path.
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
    }


def _changes(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that differ from this process's own."""
    return {name: value for name, value in environment.items() if os.environ.get(name) != value}


def _database_settings(folder: Path, stack: ExitStack) -> dict[str, str]:
    """Start the metadata database and return its addresses; a SQLite database of an earlier version stays in use."""
    if (sqlite := folder / "airflow.db").exists():
        return {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{sqlite}"}
    # Backfills and the scheduler write at the same time, which SQLite refuses with "database is locked".
    server = stack.enter_context(postgres_server(folder / "postgres"))
    # The generated password has hexadecimal digits only: nothing needs quoting.
    address = f"{server.user}:{server.password}@{server.host}:{server.port}/{server.database}?{DATABASE_OPTIONS}"
    return {
        # The drivers are named: Airflow would choose others, which are not installed.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg://{address}",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": f"postgresql+psycopg_async://{address}",
    }


def _await_healthy(airflow: LocalAirflow) -> None:
    deadline = time.monotonic() + START_SECONDS
    state = "the API server does not answer"
    while time.monotonic() < deadline:
        airflow.check_alive()
        try:
            with urllib.request.urlopen(f"{airflow.url}/api/v2/monitor/health", timeout=5) as answer:
                health = json.load(answer)
        except (OSError, ValueError):
            time.sleep(0.5)
            continue
        state = ", ".join(f"{name} {each['status']}" for name, each in health.items())
        if all(
            health[name]["status"] == "healthy" for name in ("metadatabase", "scheduler", "dag_processor", "triggerer")
        ):
            try:
                airflow.call("GET", "/version")
                return
            except OhlcvError as error:
                # Another Airflow has taken the port: this one will end, and check_alive reports it.
                state = str(error)
        time.sleep(0.5)
    raise OhlcvError(f"Airflow was not healthy within {START_SECONDS:.0f} s ({state}): see {airflow.folder}")
