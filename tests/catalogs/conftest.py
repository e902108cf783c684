"""Fixtures of all kinds of catalogs on real servers. Every test gets an empty catalog.

The session ends with a table of the tests, their durations and what they observed on each kind.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from catalogs.kinds import GLUE_KEYS, KINDS, EmptyCatalog, Features, Servers
from ohlcv.demo.local_postgres import PostgresServer
from ohlcv.setup.slim_spark_home import create_slim_home
from support.harness import Harness, spark_session
from support.processes import QUICK_JAVA
from support.stores import ObjectStore, RestCatalog

# The jars of all kinds.
JAR_SETS = ("OHLCV_JAR_SETS", "aws,hive,native")
# Observations by test name and kind of catalog.
Results = dict[tuple[str, str], str]


@dataclass
class CatalogUnderTest:
    """A catalog of one kind, its settings, and the observations of the test for the final table."""

    kind: str
    spark: SparkSession
    home: Path
    environment: dict[str, str]
    empty: EmptyCatalog
    features: Features
    servers: Servers
    observations: list[str] = field(default_factory=list)

    @property
    def harness(self) -> Harness:
        """Return a new harness on the same tables."""
        return Harness(self.spark, self.home, self.environment)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(tmp_path_factory.mktemp("servers"), stack)


@pytest.fixture(scope="session")
def store(servers: Servers) -> ObjectStore:
    return servers.store


@pytest.fixture(scope="session")
def postgres(servers: Servers) -> PostgresServer:
    return servers.postgres


@pytest.fixture(scope="session")
def nessie(servers: Servers) -> RestCatalog:
    return servers.nessie


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """Run the session of the tests with the jars of all kinds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(*JAR_SETS)
        # A JVM keeps the environment of its start.
        for name, value in GLUE_KEYS.items():
            patch.setenv(name, value)
        create_slim_home()
        with spark_session(tmp_path_factory.mktemp("spark")) as session:
            yield session


@pytest.fixture(scope="session")
def results() -> Iterator[Results]:
    found: Results = {}
    yield found
    names = list(dict.fromkeys(name for name, _ in found))
    print(f"\n| promise | {' | '.join(KINDS)} |\n|{'---|' * (len(KINDS) + 1)}")
    for name in names:
        print(f"| {name} | {' | '.join(found.get((name, kind), '-') for kind in KINDS)} |")


@pytest.fixture(params=KINDS)
def catalog(
    request: pytest.FixtureRequest,
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    results: Results,
    servers: Servers,
) -> Iterator[CatalogUnderTest]:
    home = tmp_path / "home"
    factory, features = KINDS[request.param]
    empty = factory(servers)
    environment = {"OHLCV_HOME": str(home), **dict([JAR_SETS]), **empty.environment}
    monkeypatch.setenv(*QUICK_JAVA)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = CatalogUnderTest(request.param, spark, home, environment, empty, features, servers)
    begin = time.monotonic()
    yield found
    name = request.node.originalname.removeprefix("test_").replace("_", " ")
    results[name, found.kind] = ", ".join([*found.observations, f"{time.monotonic() - begin:.0f} s"])
    # pyiceberg does not close the connections of its catalogs. The garbage collector does.
    gc.collect()
