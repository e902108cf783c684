"""The steps of `ohlcv doctor --catalog` through Iceberg's Java library, on SQLite and PostgreSQL."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from ohlcv.config.settings import load_settings
from ohlcv.demo.local_postgres import PostgresServer, postgres_server
from ohlcv.model.catalog_chain import StepResult, chain_request, check_chain, new_scratch_name
from ohlcv.monitoring.catalog_remedies import describe_result
from spark_jobs.jobs.check_catalog import SparkClient
from support.catalog_steps import STEPS
from support.databases import catalog_environment, new_database
from support.harness import Harness, at, trade
from support.limited_database import LimitedDatabase

pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")

NAMESPACE = ("market_data",)


@pytest.fixture(autouse=True)
def _close_connections() -> Iterator[None]:
    yield
    # pyiceberg does not close the connections of its catalogs. The garbage collector does.
    gc.collect()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with postgres_server(tmp_path_factory.mktemp("postgres"), volatile=True) as found:
        yield found


def check(harness: Harness, namespace: tuple[str, ...] = NAMESPACE) -> list[StepResult]:
    request = replace(
        chain_request(harness.settings.names, harness.settings.timeframes, new_scratch_name()), namespace=namespace
    )
    return check_chain(SparkClient(harness.spark, harness.settings.catalog.name), request)


def steps(results: list[StepResult], state: str) -> list[str]:
    return [result.step for result in results if result.state == state]


def tables(harness: Harness) -> set[str]:
    return {row.tableName for row in harness.spark.sql("SHOW TABLES IN iceberg.market_data").collect()}


def test_every_step_passes_and_nothing_remains(harness: Harness) -> None:
    harness.load([trade(at("2026-03-01 12:00"))])
    before = tables(harness)
    results = check(harness)
    assert steps(results, "ok") == STEPS
    found = {result.step: result.found for result in results}
    assert found["read trades"] == (
        "a row of market_data.gold_crypto_trades is read; the catalog shows 1 of its snapshots"
    )
    assert tables(harness) == before
    assert not list(Path(harness.settings.home).rglob("ohlcv_doctor_*/*/*"))


def test_without_the_namespace_a_scratch_namespace_is_created_and_dropped(harness: Harness) -> None:
    results = check(harness, namespace=("nowhere",))
    assert steps(results, "ok") == STEPS
    assert [row.namespace for row in harness.spark.sql("SHOW NAMESPACES IN iceberg").collect()] == ["market_data"]


def test_a_disabled_garbage_collection_is_a_warning_and_prevents_no_drop(harness: Harness) -> None:
    harness.sql("ALTER TABLE iceberg.market_data.gold_ohlcv_1h SET TBLPROPERTIES ('gc.enabled' = 'false')")
    results = check(harness)
    assert steps(results, "ok") == [step for step in STEPS if step != "gc.enabled"]
    assert [(result.step, result.found) for result in results if result.state == "warning"] == [
        ("gc.enabled", "market_data.gold_ohlcv_1h")
    ]


@pytest.mark.parametrize(
    ("rights", "step", "problem"),
    [
        ("SELECT", "create", "the catalog permits listing, but not writing: the table market_data.ohlcv_doctor_"),
        ("SELECT, INSERT, DELETE", "commit", "nothing can be committed to market_data.ohlcv_doctor_"),
        ("SELECT, INSERT, UPDATE", "drop", "market_data.ohlcv_doctor_"),
    ],
)
def test_a_missing_right_is_reported_as_by_pyiceberg(
    spark: SparkSession, server: PostgresServer, tmp_path: Path, rights: str, step: str, problem: str
) -> None:
    with LimitedDatabase(server, {"OHLCV_HOME": str(tmp_path)}, rights) as limited:
        harness = Harness(spark, tmp_path, limited.environment)
        results = check(harness)
        [fault] = [result for result in results if result.state == "fault"]
        assert fault.step == step
        text = describe_result(harness.settings.catalog, fault)
        assert text.startswith(problem)
        assert "permission denied for table iceberg_tables): grant the user limited INSERT, UPDATE and DELETE" in text
        assert (len(tables(harness)) == 11) == (step != "drop")


def test_a_refused_password_is_reported_as_by_pyiceberg(
    spark: SparkSession, server: PostgresServer, tmp_path: Path
) -> None:
    right = {"OHLCV_HOME": str(tmp_path), **catalog_environment(server, new_database(server))}
    harness = Harness(spark, tmp_path, right)
    harness.spark.conf.set("spark.sql.catalog.iceberg.jdbc.password", "hunter2")
    [reach, fault] = check(harness)
    assert (reach.state, fault.step, fault.state) == ("ok", "authenticate", "fault")
    text = describe_result(load_settings(right).catalog, fault)
    assert "refuses the password (" in text
    assert "hunter2" not in text
