"""`ohlcv doctor --catalog` on all kinds of catalogs through both clients, and with broken configurations."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from catalogs.conftest import CatalogUnderTest
from catalogs.kinds import Servers, configuration
from ohlcv.config.settings import Settings, load_settings
from ohlcv.demo.local_postgres import PostgresServer
from ohlcv.iceberg.tables import create_tables, open_catalog
from ohlcv.model.catalog_chain import chain_request, check_chain, new_scratch_name
from ohlcv.monitoring.catalog_check import CLIENTS, check_with_pyiceberg
from ohlcv.monitoring.catalog_remedies import describe_result
from ohlcv.monitoring.doctor import Check
from spark_jobs.jobs.check_catalog import SparkClient
from support.catalog_steps import STEPS
from support.databases import catalog_environment, new_database
from support.processes import QUICK_JAVA
from support.stores import ObjectStore

pytestmark = [
    pytest.mark.catalogs,
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
]

READABLE = ["reach", "authenticate", "list", "read trades", "gc.enabled"]
# Checks of one client by step.
Checks = dict[str, Check]


@pytest.fixture(autouse=True)
def _close_connections() -> Iterator[None]:
    yield
    # pyiceberg does not close the connections of its catalogs. The garbage collector does.
    gc.collect()


def check_in_session(spark: SparkSession, settings: Settings, environment: dict[str, str]) -> list[Check]:
    """Return the results through Spark without a job: a session of its own knows only this catalog."""
    session = spark.newSession()
    for name, value in settings.catalog.spark_properties().items():
        if name != "spark.sql.extensions":  # cannot change after Spark has started
            session.conf.set(name, value)
    jvm: Any = spark.sparkContext._jvm
    # Iceberg's Java code finds the catalog through the active session.
    jvm.org.apache.spark.sql.classic.SparkSession.setActiveSession(session._jsparkSession)
    # A job gets them by its environment.
    for name, key in (("aws.accessKeyId", "AWS_ACCESS_KEY_ID"), ("aws.secretAccessKey", "AWS_SECRET_ACCESS_KEY")):
        if key in environment:
            jvm.java.lang.System.setProperty(name, environment[key])
        else:
            jvm.java.lang.System.clearProperty(name)
    client = SparkClient(session, settings.catalog.name)
    results = check_chain(client, chain_request(settings.names, settings.timeframes, new_scratch_name()))
    return [Check(f"Spark {each.step}", each.state, describe_result(settings.catalog, each)) for each in results]


def check_both(spark: SparkSession, environment: dict[str, str]) -> list[Checks]:
    """Return the results through pyiceberg and through Spark."""
    settings = load_settings(environment)
    return [by_step(check_with_pyiceberg(settings)), by_step(check_in_session(spark, settings, environment))]


def by_step(checks: list[Check]) -> Checks:
    print(*checks, sep="\n")
    return {check.name.partition(" ")[2]: check for check in checks}


def steps(checks: Checks, state: str) -> list[str]:
    return [name for name, check in checks.items() if check.state == state]


def test_the_doctor_finds_no_fault_and_nothing_remains(catalog: CatalogUnderTest) -> None:
    settings = catalog.harness.settings
    before = open_catalog(settings).list_tables("market_data")
    for found in check_both(catalog.spark, catalog.environment):
        assert steps(found, "fault") == []
        if catalog.features.shows_history:
            assert steps(found, "ok") == STEPS
            assert found["history"].found == "2 of 2 snapshots: candles are audited on a branch"
        else:
            # Nessie: no older snapshot to return to, and files that branches share.
            assert "roll back" not in found
            assert "shows only the newest snapshot of a table" in found["history"].found
            assert "candles are audited before they are written instead of on a branch" in found["history"].found
            assert found["gc.enabled"].found.startswith("gc.enabled=false on market_data.gold_ohlcv_1m, ")
            assert "drop" in found
    assert open_catalog(settings).list_tables("market_data") == before
    warnings = steps(found, "warning")
    catalog.observations.append(f"warnings: {', '.join(warnings)}" if warnings else "all steps")


def test_the_job_reports_the_same_steps(
    postgres: PostgresServer, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = store.new_bucket()
    environment = {
        "OHLCV_HOME": str(tmp_path),
        "OHLCV_WAREHOUSE": f"s3://{bucket}/candles",
        **store.environment,
        **catalog_environment(postgres, new_database(postgres)),
    }
    create_tables(load_settings(environment))
    monkeypatch.setenv(*QUICK_JAVA)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for check in CLIENTS.values():
        assert steps(by_step(check(load_settings())), "ok") == STEPS
    assert not [path for path in (store.folder / bucket).rglob("ohlcv_doctor*/*/*") if path.is_file()]


def test_keys_that_the_store_refuses_are_reported(postgres: PostgresServer, store: ObjectStore, tmp_path: Path) -> None:
    environment = {
        "OHLCV_HOME": str(tmp_path),
        "OHLCV_WAREHOUSE": f"s3://{store.new_bucket()}/candles",
        **store.environment,
        **catalog_environment(postgres, new_database(postgres)),
    }
    create_tables(load_settings(environment))
    # Only through pyiceberg: Iceberg's Java library repeats the attempt for 90 s.
    found = by_step(check_with_pyiceberg(load_settings({**environment, "OHLCV_S3_SECRET_KEY": "wrong"})))
    assert steps(found, "fault") == ["read trades", "create"]
    for step in ("read trades", "create"):
        assert found[step].found.partition("): ")[2].startswith("correct OHLCV_S3_ACCESS_KEY and ")
    assert "gc.enabled" not in found


def rest_environment(servers: Servers, home: Path, **login: str) -> dict[str, str]:
    """Return the settings of Iceberg's REST server behind a gateway that checks tokens and vends keys."""
    properties = {"type": "rest", "uri": servers.rest_gateway.address}
    if "credential" in login:
        properties |= {"oauth2-server-uri": servers.issuer.token_address, "scope": "catalog"}
    return {"OHLCV_HOME": str(home), "HOME": str(home), **configuration({**properties, **login})}


def test_a_refused_credential_is_reported_without_its_secret(
    spark: SparkSession, servers: Servers, tmp_path: Path
) -> None:
    name = servers.issuer.new_client().partition(":")[0]
    for found in check_both(spark, rest_environment(servers, tmp_path, credential=f"{name}:hunter2-hunter2")):
        assert steps(found, "ok") == ["reach"]
        [step] = steps(found, "fault")
        assert step == "authenticate"
        text = found[step].found
        assert text.startswith(f"the catalog {servers.rest_gateway.address} refuses the credential (")
        assert "correct 'credential' of the catalog lakehouse (client id:secret), 'oauth2-server-uri'" in text
        assert "hunter2" not in text


def test_a_principal_that_may_list_but_not_write_is_reported(
    spark: SparkSession, servers: Servers, tmp_path: Path
) -> None:
    servers.rest.clear()
    writer, reader = servers.issuer.new_client(), servers.issuer.new_client("reader")
    create_tables(load_settings(rest_environment(servers, tmp_path, credential=writer)))
    servers.rest_gateway.read_only.add(reader.partition(":")[0])
    for found in check_both(spark, rest_environment(servers, tmp_path, credential=reader)):
        assert steps(found, "ok") == READABLE
        [step] = steps(found, "fault")
        assert step == "create"
        assert found[step].found.startswith("the catalog permits listing, but not writing: the table ")
        assert found[step].found.endswith(
            "the client may not use POST): grant the principal of the login the right to create tables in its "
            "namespace, as candles need"
        )


def test_an_expired_token_is_reported(
    spark: SparkSession, servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers.issuer, "lifetime", -60.0)
    token = servers.issuer.token("client")
    for found in check_both(spark, rest_environment(servers, tmp_path, token=token)):
        [step] = steps(found, "fault")
        assert step == "authenticate"
        text = found[step].found
        assert "the token has expired" in text
        assert text.endswith(
            "): set a new 'token' of the catalog lakehouse: this one is wrong, expired or for another service"
        )
        assert token not in text
