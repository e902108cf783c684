"""A running demo: `ohlcv demo`, with fewer trades than by default."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ohlcv.config.settings import Settings, load_settings
from ohlcv.demo.local_airflow import PASSWORD_FILES, read_environment
from ohlcv.monitoring.airflow_client import AirflowApi
from support.processes import QUICK_JAVA, wait_for

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
READY = "Ctrl-C stops everything"


@dataclass(frozen=True)
class Demo:
    """A running demo."""

    home: Path
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def settings(self) -> Settings:
        return load_settings({"OHLCV_HOME": str(self.home)})

    def shell(self, commands: str) -> subprocess.CompletedProcess[str]:
        """Type commands in a second shell, in the checkout."""
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=ROOT,
            env=os.environ | {"OHLCV_HOME": str(self.home)},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def api(self) -> AirflowApi:
        """Return a client with the login that the demo publishes."""
        values = json.loads(self.shell(f"{BIN}/ohlcv env --format json").stdout)
        password = Path(values["OHLCV_AIRFLOW_PASSWORD_FILE"]).read_text()
        return AirflowApi(values["OHLCV_AIRFLOW_URL"], values["OHLCV_AIRFLOW_USER"], password)

    def login(self, user: str) -> tuple[str, dict[str, str]]:
        """Return the address of Airflow, and the login of a user."""
        url = read_environment(self.home / "airflow")["OHLCV_AIRFLOW_URL"]
        password = (self.home / "airflow" / PASSWORD_FILES[user]).read_text()
        return url, {"username": user, "password": password}

    def wait_for_history(self) -> None:
        """Wait until the run that the demo triggers has built its two days of history."""
        api = self.api()
        finished = ("manual", "success")
        wait_for(
            lambda: finished in [(run["run_type"], run["state"]) for run in api.runs("ohlcv_reprocess")],
            "the demo has built its history",
            1.0,
            patience=900,
        )


@contextmanager
def running_demo(folder: Path, trades: int = 30_000) -> Iterator[Demo]:
    """Start the demo, wait until it is ready, and stop it with Ctrl-C."""
    home, log = folder / "home", folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [str(BIN / "ohlcv"), "demo", "--trades", str(trades)],
            env=os.environ | dict([QUICK_JAVA]) | {"OHLCV_HOME": str(home)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(lambda: READY in log.read_text() or process.poll() is not None, "the demo is ready", patience=900)
        assert READY in log.read_text(), log.read_text()
        yield Demo(home, log, process)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(120)
