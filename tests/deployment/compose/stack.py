"""The services of docker-compose.yaml: start, containers, web interface and tables."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from deployment.containers.engine import ROOT
from ohlcv.monitoring.airflow_client import AirflowApi
from support.processes import wait_for

COMPOSE_FILE = ROOT / "docker-compose.yaml"
PODMAN_COMPOSE = str(Path(sys.executable).with_name("podman-compose"))
OVERRIDE = Path(__file__).with_name("override.yaml")
PROJECT_PREFIX = "ohlcv-test"
# Eleven containers load Airflow or Spark, on two busy cores.
START_SECONDS = 900
POLL_SECONDS = 3.0
# On a damaged database, podman waits for a lock without end.
REMOVE_SECONDS = 300
STDIO = {"--create": ["."], "--extract": []}


def read_env(path: Path) -> dict[str, str]:
    """Read an .env file that `make env` has written."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


@dataclass
class Stack:
    """A compose project of its own name, driven by the commands that an operator has."""

    folder: Path
    environment: dict[str, str]
    secrets_file: Path
    # A project that a killed run has left can then not be taken for this one.
    project: str = field(default_factory=lambda: f"{PROJECT_PREFIX}-{secrets.token_hex(4)}")
    env: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.env = read_env(self.folder / ".env")

    def compose(self, *arguments: str, check: bool = True) -> str:
        """Run `docker compose …`."""
        return self._run(self._compose_command(self.project, *arguments), check)

    def _compose_command(self, project: str, *arguments: str) -> list[str]:
        files = [word for path in (COMPOSE_FILE, OVERRIDE, self.secrets_file) for word in ("--file", str(path))]
        options = ["--project-name", project, "--env-file", str(self.folder / ".env")]
        return [PODMAN_COMPOSE, *options, *files, *arguments]

    def compose_error(self, env_file: str, *arguments: str) -> str:
        """Run a command that must fail, with another .env file, and return its error message."""
        command = [PODMAN_COMPOSE, "--env-file", env_file, "--file", str(COMPOSE_FILE), *arguments]
        result = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert result.returncode != 0
        return result.stderr

    def remove_earlier_projects(self) -> None:
        """Remove the containers and volumes of runs that were killed: they take memory and processor time."""
        labels = '{{index .Labels "io.podman.compose.project"}}'
        names = self.podman("ps", "--all", "--format", labels).split()
        names += self.podman("volume", "ls", "--format", labels).split()
        for project in {name for name in names if name.startswith(PROJECT_PREFIX)}:
            command = self._compose_command(project, "--profile", "demo", "down", "--volumes", "--timeout", "10")
            print(f"removing the project {project} of an earlier run")
            try:
                subprocess.run(command, env=self.environment, check=False, cwd=ROOT, timeout=REMOVE_SECONDS)
            except subprocess.TimeoutExpired:
                print(f"podman could not remove the project {project} within {REMOVE_SECONDS} s")

    def podman(self, *arguments: str, check: bool = True) -> str:
        return self._run(["podman", *arguments], check)

    def _run(self, command: list[str], check: bool) -> str:
        result = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, cwd=ROOT)
        assert not check or result.returncode == 0, f"{' '.join(command)}: {result.stdout}\n{result.stderr}"
        return result.stdout

    def containers(self) -> dict[str, str]:
        """Return the service and number of each running container, by container name."""
        names = self.podman("ps", "--format", "{{.Names}}").split()
        return {name: name.removeprefix(f"{self.project}_") for name in names if name.startswith(f"{self.project}_")}

    def container(self, service: str, number: int = 1) -> str:
        return f"{self.project}_{service}_{number}"

    def execute(self, service: str, *command: str, number: int = 1) -> str:
        """Run a command in a container of a service."""
        return self.execute_bytes(service, *command, number=number).decode()

    def execute_bytes(self, service: str, *command: str, number: int = 1, stdin: bytes = b"") -> bytes:
        return self._pipe(["podman", "exec", "--interactive", self.container(service, number), *command], stdin)

    def store_tar(self, action: str, stdin: bytes = b"") -> bytes:
        """Pack or unpack the volume of the store with tar in the project's image, including extended attributes."""
        image = yaml.safe_load(COMPOSE_FILE.read_text())["services"]["scheduler"]["image"]
        volume = ["--volume", f"{self.project}_store-data:/data"]
        command = ["podman", "run", "--rm", "--interactive", "--network=none", "--user=0", *volume, image]
        return self._pipe([*command, "tar", action, "--xattrs", "--directory=/data", *STDIO[action]], stdin)

    def _pipe(self, command: list[str], stdin: bytes) -> bytes:
        result = subprocess.run(command, env=self.environment, capture_output=True, input=stdin, check=False)
        assert result.returncode == 0, f"{' '.join(command)}: {result.stdout.decode()}\n{result.stderr.decode()}"
        return result.stdout

    def logs(self, service: str, name: str = "") -> str:
        command = ["podman", "logs", name or self.container(service)]
        result = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True)
        return result.stdout + result.stderr

    def unhealthy(self) -> list[str]:
        """Return the containers that are not healthy. podman runs health checks by itself only with systemd."""
        return [
            name for name, service in self.containers().items() if "-init" not in service and self._health(name) != 0
        ]

    def _health(self, name: str) -> int:
        command = ["podman", "healthcheck", "run", name]
        return subprocess.run(command, env=self.environment, capture_output=True, check=False).returncode

    def up(self, *profiles: str) -> None:
        """Start all services, and wait until they are healthy."""
        options = [word for profile in profiles for word in ("--profile", profile)]
        self.compose(*options, "up", "--detach", "--no-build")
        self.wait_until_healthy()

    def wait_until_healthy(self) -> None:
        def all_healthy() -> bool:
            return len(self.containers()) >= 9 and not self.unhealthy()

        wait_for(all_healthy, "every service is healthy", POLL_SECONDS, START_SECONDS)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.environment['OHLCV_WEB_PORT']}"

    def api(self, user: str = "admin") -> AirflowApi:
        """Return a client of Airflow's REST API for a user."""
        return AirflowApi(self.url, user, self.env[f"AIRFLOW_{user.upper()}_PASSWORD"])

    def candles(self, timeframe: str) -> list[dict[str, Any]]:
        """Read the candles of a timeframe with `ohlcv candles` in a container."""
        command = ["ohlcv", "candles", "--timeframe", timeframe, "--format", "json", "--start", "2020-01-01"]
        text = self.execute("scheduler", *command, "--limit", "1000000")
        found: list[dict[str, Any]] = json.loads(text)
        return found
