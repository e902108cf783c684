"""`ohlcv doctor --catalog` through pyiceberg, on SQLite and PostgreSQL: each fault with its remedy, nothing remains."""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ohlcv.config.settings import Settings, load_settings
from ohlcv.demo.local_postgres import PostgresServer, postgres_server
from ohlcv.iceberg.tables import create_tables, open_catalog
from ohlcv.monitoring.catalog_check import PyicebergClient, check_with_pyiceberg, check_with_spark, is_unreachable
from ohlcv.monitoring.doctor import Check
from ohlcv.spark.spark_submit import JobResult
from support.catalog_steps import STEPS
from support.databases import catalog_environment, new_database
from support.json_server import json_server
from support.limited_database import LimitedDatabase

# pyiceberg does not close the connections of its catalogs, so the garbage collector does.
pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[dict[str, str]]:
    yield {"OHLCV_HOME": str(tmp_path / "home")}
    gc.collect()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with postgres_server(tmp_path_factory.mktemp("postgres"), volatile=True) as found:
        yield found


def texts(checks: list[Check], state: str) -> dict[str, str]:
    """Return the texts of the checks in a state, by step."""
    found = {check.name.removeprefix("pyiceberg "): check.found for check in checks if check.state == state}
    assert not [text for text in found.values() if "\n" in text]
    return found


def contents(settings: Settings) -> tuple[set[str], set[tuple[str, ...]]]:
    """Return every path of the local warehouse, and every table of the catalog."""
    catalog = open_catalog(settings)
    tables = {table for namespace in catalog.list_namespaces() for table in catalog.list_tables(namespace)}
    warehouse = Path(settings.warehouse.removeprefix("file://"))
    return {str(path) for path in warehouse.rglob("*")}, tables


def test_every_step_passes_and_nothing_remains(home: dict[str, str]) -> None:
    settings = load_settings(home)
    create_tables(settings)
    before = contents(settings)
    checks = check_with_pyiceberg(settings)
    assert list(texts(checks, "ok")) == STEPS
    assert texts(checks, "ok")["history"] == "2 of 2 snapshots: candles are audited on a branch"
    assert contents(settings) == before


def test_an_embedded_catalog_is_not_created(home: dict[str, str]) -> None:
    [check] = check_with_pyiceberg(load_settings(home))
    assert check.found == f"sqlite:///{home['OHLCV_HOME']}/catalog.db does not exist yet: run 'ohlcv tables create'"
    assert is_unreachable([check])
    assert not Path(home["OHLCV_HOME"]).exists()


def test_without_the_namespace_a_scratch_namespace_is_created_and_dropped(
    home: dict[str, str], server: PostgresServer
) -> None:
    settings = load_settings({**home, **catalog_environment(server, new_database(server))})
    checks = check_with_pyiceberg(settings)
    assert texts(checks, "fault") == {
        "read trades": "there is no table market_data.gold_crypto_trades (Table does not exist: "
        "market_data.gold_crypto_trades): run 'ohlcv tables create', or correct the name of the table"
    }
    found = texts(checks, "ok")
    assert list(found) == [step for step in STEPS if step != "read trades"]
    assert found["list"] == "the namespace market_data does not exist yet"
    assert contents(settings) == (set(), set())
    assert open_catalog(settings).list_namespaces() == []


def test_a_disabled_garbage_collection_is_a_warning(home: dict[str, str]) -> None:
    settings = load_settings(home)
    create_tables(settings)
    table = open_catalog(settings).load_table(("market_data", "gold_ohlcv_1h"))
    table.transaction().set_properties({"gc.enabled": "false"}).commit_transaction()
    checks = check_with_pyiceberg(settings)
    assert texts(checks, "fault") == {}
    [warning] = texts(checks, "warning").values()
    assert warning.startswith("gc.enabled=false on market_data.gold_ohlcv_1h: 'ohlcv maintain' expires no snapshot")


def test_an_unreachable_catalog_ends_the_check(home: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for uri in (f"postgresql://u@127.0.0.1:{port}/d", f"http://127.0.0.1:{port}/iceberg"):
        checks = check_with_pyiceberg(load_settings({**home, "OHLCV_CATALOG_URI": uri}))
        [(step, fault)] = texts(checks, "fault").items()
        assert step == "reach"
        assert fault.startswith(f"the catalog {uri} does not answer (")
        assert fault.endswith("): start it, or correct OHLCV_CATALOG_URI")
        assert is_unreachable(checks)
        assert len(checks) == 1


def test_a_refused_and_a_missing_token_are_reported(home: dict[str, str]) -> None:
    with json_server({}) as address:
        rest = {**home, "OHLCV_CATALOG_URI": address}
        for change, problem, remedy in (
            (
                {"OHLCV_CATALOG_TOKEN": "hunter2"},
                "refuses the token (",
                RENEW,
            ),
            ({}, "requires a login, and none is set (", "set OHLCV_CATALOG_TOKEN"),
        ):
            checks = check_with_pyiceberg(load_settings({**rest, **change}))
            assert texts(checks, "ok") == {"reach": f"{address} answers"}
            [(step, fault)] = texts(checks, "fault").items()
            assert step == "authenticate"
            assert fault.startswith(f"the catalog {address} {problem}")
            assert f"): {remedy}" in fault
            assert "hunter2" not in fault


def test_a_wrong_and_a_missing_password_are_reported(home: dict[str, str], server: PostgresServer) -> None:
    right = catalog_environment(server, new_database(server))
    for password, problem, remedy in (
        ("hunter2", "refuses the password (", "correct OHLCV_CATALOG_PASSWORD"),
        ("", "requires a login, and none is set (", "set OHLCV_CATALOG_PASSWORD"),
    ):
        checks = check_with_pyiceberg(load_settings({**home, **right, "OHLCV_CATALOG_PASSWORD": password}))
        [(step, fault)] = texts(checks, "fault").items()
        assert step == "authenticate"
        assert problem in fault
        assert fault.endswith(f"): {remedy}")
        assert "hunter2" not in fault


def test_an_unknown_database_is_reported(home: dict[str, str], server: PostgresServer) -> None:
    checks = check_with_pyiceberg(load_settings({**home, **catalog_environment(server, "nowhere")}))
    [(step, fault)] = texts(checks, "fault").items()
    assert step == "reach"
    assert fault.endswith('database "nowhere" does not exist): create the database, or correct OHLCV_CATALOG_URI')


@pytest.fixture
def limited(request: pytest.FixtureRequest, server: PostgresServer, home: dict[str, str]) -> Iterator[LimitedDatabase]:
    with LimitedDatabase(server, home, request.param) as found:
        yield found


RENEW = "set a new OHLCV_CATALOG_TOKEN: this one is wrong, expired or for another service"
GRANT = (
    "): grant the user limited INSERT, UPDATE and DELETE on the tables iceberg_tables and iceberg_namespace_properties"
)


@pytest.mark.parametrize("limited", ["SELECT"], indirect=True)
def test_a_catalog_that_permits_listing_but_not_writing_is_reported(limited: LimitedDatabase) -> None:
    checks = check_with_pyiceberg(load_settings(limited.environment))
    assert list(texts(checks, "ok")) == ["reach", "authenticate", "list", "read trades", "gc.enabled"]
    [(step, fault)] = texts(checks, "fault").items()
    assert step == "create"
    assert fault.startswith("the catalog permits listing, but not writing: the table market_data.ohlcv_doctor_")
    assert fault.endswith(f"permission denied for table iceberg_tables{GRANT}")


@pytest.mark.parametrize("limited", ["SELECT, INSERT, DELETE"], indirect=True)
def test_the_scratch_table_is_dropped_after_a_failed_commit(limited: LimitedDatabase) -> None:
    before = contents(limited.owner)
    checks = check_with_pyiceberg(load_settings(limited.environment))
    assert list(texts(checks, "ok")) == ["reach", "authenticate", "list", "read trades", "create", "gc.enabled", "drop"]
    assert list(texts(checks, "fault")) == ["commit"]
    assert contents(limited.owner) == before


@pytest.mark.parametrize("limited", ["SELECT, INSERT, UPDATE"], indirect=True)
def test_a_table_that_cannot_be_dropped_is_named(limited: LimitedDatabase) -> None:
    before = contents(limited.owner)[1]
    checks = check_with_pyiceberg(load_settings(limited.environment))
    [(step, fault)] = texts(checks, "fault").items()
    [scratch] = contents(limited.owner)[1] - before
    assert step == "drop"
    assert fault.startswith(f"{'.'.join(scratch)} cannot be dropped (permission denied for table iceberg_tables")


def test_the_scratch_table_is_dropped_after_an_interrupt(home: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(home)
    create_tables(settings)
    before = contents(settings)[1]

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PyicebergClient, "append_row", interrupt)
    with pytest.raises(KeyboardInterrupt):
        check_with_pyiceberg(settings)
    assert contents(settings)[1] == before


@pytest.mark.parametrize("namespace_exists", [True, False])
def test_the_scratch_table_of_a_job_that_failed_is_dropped(
    home: dict[str, str], monkeypatch: pytest.MonkeyPatch, namespace_exists: bool, server: PostgresServer
) -> None:
    settings = load_settings({**home, **catalog_environment(server, new_database(server))})
    if namespace_exists:
        create_tables(settings)
    before = contents(settings)[1]
    created: list[Any] = []

    def job_that_creates_the_table_and_fails(job: Any, *_: object, **__: object) -> JobResult:
        scratch = job.arguments[1]
        client = PyicebergClient(settings)
        if not namespace_exists:
            client.create_namespace((scratch,))
        created.append(client.create_table(("market_data" if namespace_exists else scratch, scratch)))
        return JobResult(1, "", "error: the driver has no memory")

    monkeypatch.setattr("ohlcv.monitoring.catalog_check.run", job_that_creates_the_table_and_fails)
    problem, dropped = check_with_spark(settings)
    assert problem == Check("Spark", "fault", "the driver has no memory")
    assert (dropped.name, dropped.state) == ("Spark drop", "ok")
    assert created
    assert contents(settings)[1] == before
    assert (open_catalog(settings).list_namespaces() == []) is not namespace_exists


def test_an_interrupt_of_the_job_drops_the_scratch_table(home: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(home)
    create_tables(settings)
    before = contents(settings)[1]

    def interrupted_job(job: Any, *_: object, **__: object) -> JobResult:
        PyicebergClient(settings).create_table(("market_data", job.arguments[1]))
        raise KeyboardInterrupt

    monkeypatch.setattr("ohlcv.monitoring.catalog_check.run", interrupted_job)
    with pytest.raises(KeyboardInterrupt):
        check_with_spark(settings)
    assert contents(settings)[1] == before


def test_files_that_a_purge_leaves_are_reported(home: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(home)
    create_tables(settings)
    # pyiceberg logs the error of a file that cannot be deleted, and continues.
    monkeypatch.setattr("pyiceberg.catalog.delete_files", lambda *_: None)
    checks = check_with_pyiceberg(settings)
    assert texts(checks, "fault") == {}
    [(step, warning)] = texts(checks, "warning").items()
    assert step == "drop"
    assert " is dropped, but the purge of its files is not permitted (" in warning
