"""Shared fixtures: one Spark session for all tests, a catalog and warehouse for each test."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from pyspark.sql import SparkSession
from xdist.scheduler import LoadScopeScheduling

from ohlcv.config.execution import ENGINES
from spark_jobs.runtime import execution
from support.harness import Harness, is_native, spark_session

# On a busy machine an example may take any time.
settings.register_profile("any-duration", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-duration")

# Tests that start many processes of their own run one after another within a group: all together they would compete
# for two cores.
PROCESS_FOLDERS = {
    "integration": "services",
    "services": "services",
    "crash_recovery": "jobs",
    "orchestration": "jobs",
}


class FileScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Distribute the tests of pytest-xdist by file, and those of the process folders by group."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return PROCESS_FOLDERS.get(path.split("/")[1], path)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FileScheduling:
    """Use the scheduling of this project for `-n`."""
    return FileScheduling(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the engine of the Spark session."""
    parser.addoption("--engine", choices=ENGINES, default="jvm", help="engine of the tests that use Spark")


def pytest_configure() -> None:
    """Restore the default effects of signals, which a shell or nohup disables: tests send them to programs."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_unconfigure() -> None:
    """Remove Airflow's log handlers: pytest closes their stream, and py4j logs once more when the process exits."""
    logging.getLogger().handlers.clear()


@pytest.fixture(autouse=True)
def _remove_settings_from_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("OHLCV_", "PYICEBERG_"))]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[SparkSession]:
    engine = request.config.getoption("--engine")
    with spark_session(tmp_path_factory.mktemp("spark"), engine) as session, pytest.MonkeyPatch.context() as patch:
        if engine == "native":
            # The session is local: a native crash ends the tests.
            patch.setattr(execution, "_find_session_reason", lambda spark: None)
        assert is_native(session) == (engine == "native")
        yield session


@pytest.fixture
def harness(spark: SparkSession, tmp_path: Path) -> Harness:
    return Harness(spark, tmp_path / "home")
