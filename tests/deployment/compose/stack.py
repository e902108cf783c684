"""A running stack: its containers, its web interface, and what its tables hold."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from deployment.containers.engine import ROOT
from ohlcv.monitoring.airflow_client import AirflowApi
from ohlcv.spark.processes import free_port
from support.processes import wait_for

COMPOSE_FILE = ROOT / "docker-compose.yaml"
OVERRIDE = Path(__file__).with_name("override.yaml")
PROJECT = "ohlcv-test"
# Eleven containers that load Airflow or Spark on two busy cores.
START_SECONDS = 900
POLL_SECONDS = 3.0
STDIO = {"--create": ["."], "--extract": []}


def free_web_port() -> int:
    return free_port()


def read_env(path: Path) -> dict[str, str]:
    """Read an .env file as written by `make env`."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


@dataclass
class Stack:
    """The stack, by the commands an operator has."""

    folder: Path
    environment: dict[str, str]
    secrets_file: Path
    env: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.env = read_env(self.folder / ".env")

    def compose(self, *words: str, check: bool = True) -> str:
        """Run `docker compose …`."""
        program = str(Path(sys.executable).with_name("podman-compose"))
        files = [word for path in (COMPOSE_FILE, OVERRIDE, self.secrets_file) for word in ("--file", str(path))]
        command = [program, "--project-name", PROJECT, "--env-file", str(self.folder / ".env"), *files, *words]
        return self._run(command, check)

    def compose_error(self, env_file: str, *words: str) -> str:
        """Have compose refuse, with another .env; give what it says."""
        program = str(Path(sys.executable).with_name("podman-compose"))
        command = [program, "--env-file", env_file, "--file", str(COMPOSE_FILE), *words]
        result = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert result.returncode != 0
        return result.stderr

    def podman(self, *words: str, check: bool = True) -> str:
        return self._run(["podman", *words], check)

    def _run(self, command: list[str], check: bool) -> str:
        result = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, cwd=ROOT)
        assert not check or result.returncode == 0, f"{' '.join(command)}: {result.stdout}\n{result.stderr}"
        return result.stdout

    def containers(self) -> dict[str, str]:
        """Give the running containers: service and number by name."""
        names = self.podman("ps", "--format", "{{.Names}}").split()
        return {name: name.removeprefix(f"{PROJECT}_") for name in names if name.startswith(f"{PROJECT}_")}

    def container(self, service: str, number: int = 1) -> str:
        return f"{PROJECT}_{service}_{number}"

    def execute(self, service: str, *words: str, number: int = 1) -> str:
        """Run a command in a service's container."""
        return self.execute_bytes(service, *words, number=number).decode()

    def execute_bytes(self, service: str, *words: str, number: int = 1, stdin: bytes = b"") -> bytes:
        return self._pipe(["podman", "exec", "--interactive", self.container(service, number), *words], stdin)

    def store_tar(self, action: str, stdin: bytes = b"") -> bytes:
        """Pack or unpack the store's volume, attributes of its files included, by the project's image."""
        image = yaml.safe_load(COMPOSE_FILE.read_text())["services"]["scheduler"]["image"]
        volume = ["--volume", f"{PROJECT}_store-data:/data"]
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

    def ill(self) -> list[str]:
        """Name the services that run and are not healthy; podman's own clockwork for this needs systemd."""
        return [
            name for name, service in self.containers().items() if "-init" not in service and self._health(name) != 0
        ]

    def _health(self, name: str) -> int:
        command = ["podman", "healthcheck", "run", name]
        return subprocess.run(command, env=self.environment, capture_output=True, check=False).returncode

    def up(self, *profiles: str) -> None:
        """Start everything, and wait until all of it is healthy."""
        chosen = [word for profile in profiles for word in ("--profile", profile)]
        self.compose(*chosen, "up", "--detach", "--no-build")
        self.await_healthy()

    def await_healthy(self) -> None:
        def all_well() -> bool:
            return len(self.containers()) >= 9 and not self.ill()

        wait_for(all_well, "every service is healthy", POLL_SECONDS, START_SECONDS)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.environment['OHLCV_WEB_PORT']}"

    def api(self, user: str = "admin") -> AirflowApi:
        """Give the web interface's own interface, as somebody."""
        return AirflowApi(self.url, user, self.env[f"AIRFLOW_{user.upper()}_PASSWORD"])

    def candles(self, timeframe: str) -> list[dict[str, Any]]:
        """Read a timeframe's newest candles, through the command line in a container."""
        words = ["ohlcv", "candles", "--timeframe", timeframe, "--format", "json", "--start", "2020-01-01"]
        text = self.execute("scheduler", *words, "--limit", "1000000")
        found: list[dict[str, Any]] = json.loads(text)
        return found
