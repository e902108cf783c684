"""Fixtures of three kinds of catalogs on real servers. Every test gets an empty catalog.

The session ends with a table of the tests, their durations and what they observed on each kind.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from ohlcv.demo.local_postgres import PostgresServer, postgres_server
from support.databases import catalog_environment, new_database
from support.harness import Harness
from support.processes import QUICK_JAVA
from support.stores import ObjectStore, RestCatalog, object_store, rest_catalog

KINDS = ("sqlite and files", "postgresql and s3", "rest and s3")
# Observations by test name and kind of catalog.
Results = dict[tuple[str, str], str]


@dataclass
class CatalogUnderTest:
    """A catalog of one kind, its settings, and the observations of the test for the final table."""

    kind: str
    spark: SparkSession
    home: Path
    environment: dict[str, str]
    observations: list[str] = field(default_factory=list)

    @property
    def harness(self) -> Harness:
        """Return a new harness on the same tables."""
        return Harness(self.spark, self.home, self.environment)

    @property
    def is_rest(self) -> bool:
        return self.kind.startswith("rest")


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with object_store(tmp_path_factory.mktemp("s3")) as found:
        yield found


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with postgres_server(tmp_path_factory.mktemp("postgres"), volatile=True) as found:
        yield found


@pytest.fixture(scope="session")
def nessie(tmp_path_factory: pytest.TempPathFactory, store: ObjectStore) -> Iterator[RestCatalog]:
    with rest_catalog(tmp_path_factory.mktemp("nessie"), store) as found:
        yield found


@pytest.fixture(scope="session")
def results() -> Iterator[Results]:
    found: Results = {}
    yield found
    names = list(dict.fromkeys(name for name, _ in found))
    width = max(map(len, names), default=0)
    print(f"\n{'':{width}}  " + "  ".join(f"{kind:38}" for kind in KINDS))
    for name in names:
        print(f"{name:{width}}  " + "  ".join(f"{found.get((name, kind), '-'):38}" for kind in KINDS))


@pytest.fixture(params=KINDS)
def catalog(
    request: pytest.FixtureRequest,
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    results: Results,
) -> Iterator[CatalogUnderTest]:
    home = tmp_path / "home"
    environment = {"OHLCV_HOME": str(home)}
    if request.param != KINDS[0]:
        store: ObjectStore = request.getfixturevalue("store")
        if request.param == KINDS[1]:
            server: PostgresServer = request.getfixturevalue("postgres")
            warehouse = {"OHLCV_WAREHOUSE": f"s3://{store.new_bucket()}/candles", **store.environment}
            environment |= catalog_environment(server, new_database(server)) | warehouse
        else:
            nessie: RestCatalog = request.getfixturevalue("nessie")
            environment |= nessie.new_branch()
    monkeypatch.setenv(*QUICK_JAVA)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = CatalogUnderTest(request.param, spark, home, environment)
    begin = time.monotonic()
    yield found
    name = request.node.originalname.removeprefix("test_").replace("_", " ")
    results[name, found.kind] = ", ".join([*found.observations, f"{time.monotonic() - begin:.0f} s"])
    # pyiceberg does not close the connections of its catalogs. The garbage collector does.
    gc.collect()
