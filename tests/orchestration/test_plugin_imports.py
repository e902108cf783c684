"""Packages that the plugin adds to each component of Airflow. Every one of them loads it, every task too."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

# Module that runs the component, and the module with which it loads plugins.
COMPONENTS = {
    "scheduler": ("airflow.jobs.scheduler_job_runner", "airflow.plugins_manager"),
    "dag-processor": ("airflow.dag_processing.manager", "airflow.plugins_manager"),
    "triggerer": ("airflow.jobs.triggerer_job_runner", "airflow.plugins_manager"),
    "task": ("airflow.sdk.execution_time.task_runner", "airflow.sdk.plugins_manager"),
    "api-server": ("airflow.api_fastapi.app", "airflow.plugins_manager"),
}
ENGINES = {"pyiceberg", "pyarrow", "duckdb", "pyspark", "numpy"}
SERVERS = {"httpx", "fastapi", "starlette", "uvicorn"}

LOAD = """
import asyncio, importlib, json, sys
component, manager, first_request = sys.argv[1:]
importlib.import_module(component)
packages = lambda: {name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names
before = packages()
plugins, errors = importlib.import_module(manager)._get_plugins()
statuses = []
if first_request == "True":
    from airflow.plugins_manager import get_fastapi_plugins
    [mounted] = get_fastapi_plugins()[0]
    async def send(message):
        statuses.append(message.get("status"))
    scope = {"type": "http", "method": "GET", "path": "/x", "headers": [], "query_string": b"", "state": {}}
    asyncio.run(mounted["app"](scope, None, send))
loaded = sorted(name for name in sys.modules if name.startswith("ohlcv."))
found = {"plugins": [plugin.name for plugin in plugins], "errors": errors, "status": statuses[:1], "modules": loaded}
print(json.dumps({**found, "before": sorted(before), "added": sorted(packages() - before)}))
"""


# Tasks and the first request start most often. The others take half a minute together.
@pytest.mark.parametrize(
    ("component", "first_request"),
    [
        ("task", False),
        ("api-server", True),
        *(
            pytest.param(component, False, marks=pytest.mark.page)
            for component in ("scheduler", "dag-processor", "triggerer", "api-server")
        ),
    ],
)
def test_the_plugin_adds_no_engine_and_no_server(component: str, first_request: bool) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOAD, *COMPONENTS[component], str(first_request)],
        env=os.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(result.stdout.splitlines()[-1])
    added = set(found["added"]) - {"ohlcv_plugin"}
    print(f"{component}{' after its first request' if first_request else ''}: adds {', '.join(sorted(added)) or '-'}")
    print(f"  modules: {', '.join(found['modules'])}")
    assert found["plugins"] == ["ohlcv"]
    assert found["errors"] == {}
    assert found["status"] == ([401] if first_request else [])
    assert not ENGINES & (added | set(found["before"]))
    # Airflow's own services may have loaded servers before.
    assert not SERVERS & added
    gateway = {
        name for name in found["modules"] if name.startswith(("ohlcv.web", "ohlcv.orchestration.candle_gateway"))
    }
    assert gateway == ({"ohlcv.orchestration.candle_gateway"} if first_request else set())
