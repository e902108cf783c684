"""Shared fixtures: one Spark session for all tests, a catalog and warehouse for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from pyspark.sql import SparkSession

from support.harness import Harness, spark_session

# On a busy machine an example may take any time.
settings.register_profile("any-duration", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-duration")


@pytest.fixture(autouse=True)
def _remove_settings_from_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OHLCV_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    with spark_session(tmp_path_factory.mktemp("spark")) as session:
        yield session


@pytest.fixture
def harness(spark: SparkSession, tmp_path: Path) -> Harness:
    return Harness(spark, tmp_path / "home")
