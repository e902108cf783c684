"""Health check of the containers. The command of process 1 tells which service the container runs.

It imports nothing of the project, because it runs in every container twice a minute.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from pathlib import Path

# Airflow's services without a web page are checked through the API server, which reads their heartbeats.
AIRFLOW = os.environ.get("AIRFLOW__CORE__EXECUTION_API_SERVER_URL", "http://127.0.0.1:8080/execution/")
TIMEOUT_SECONDS = 8
COMPONENTS = {"scheduler": "scheduler", "dag-processor": "dag_processor", "triggerer": "triggerer"}
PAGES = {
    "api-server": "http://127.0.0.1:8080/api/v2/version",
    "serve": "http://127.0.0.1:8090/health",
    "ohlcv.monitoring.exporter": "http://127.0.0.1:9100/",
}
SPARK_PAGES = {"master": "http://127.0.0.1:8080/json/", "worker": "http://127.0.0.1:8081/json/"}


def problem(command: list[str]) -> str | None:
    """Return what is wrong with the service that this command started, or None."""
    if "ohlcv.spark.standalone" in command:
        return _page_problem(SPARK_PAGES[command[-1]])
    for name, page in PAGES.items():
        if name in command:
            return _page_problem(page)
    for name, component in COMPONENTS.items():
        if name in command:
            return _component_problem(component)
    # Any other command has no page: it is healthy while it runs.
    return None


def _page_problem(page: str) -> str | None:
    try:
        with urllib.request.urlopen(page, timeout=TIMEOUT_SECONDS):
            return None
    except OSError as error:
        return f"{page} does not answer: {error}"


def _component_problem(component: str) -> str | None:
    page = AIRFLOW.replace("/execution/", "/api/v2/monitor/health")
    try:
        with urllib.request.urlopen(page, timeout=TIMEOUT_SECONDS) as answer:
            state = json.load(answer)[component]["status"]
    except (OSError, ValueError, KeyError) as error:
        return f"{page} does not answer for the {component}: {error}"
    return None if state == "healthy" else f"the {component} is {state}"


def main() -> int:
    """Check the service and return the exit code."""
    command = Path("/proc/1/cmdline").read_bytes().decode().split("\0")
    found = problem([word for word in command if word])
    if found:
        sys.stdout.write(f"{found}\n")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
