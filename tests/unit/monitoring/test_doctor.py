"""The doctor reports every fault in one line that says what to do."""

from __future__ import annotations

import gc
import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from ohlcv.cli.doctor import doctor as command
from ohlcv.config.settings import load_settings
from ohlcv.demo.local_postgres import PostgresServer, postgres_server
from ohlcv.iceberg.tables import create_tables, extend, open_catalog
from ohlcv.model.errors import OhlcvError
from ohlcv.monitoring import catalog_check, doctor, native_check
from ohlcv.monitoring.doctor import Check, check_deployed_port, check_deployment, run_checks, settings_faults
from ohlcv.spark.jars import chosen_jars, share_directory
from ohlcv.spark.toolchain import archive_path
from support.json_server import json_server
from support.stored_views import store_views

# pyiceberg does not close the connections of its catalogs, so the garbage collector does.
pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")


# Report of the query that checks native execution.
NATIVE_QUERY = {
    "operators": ["CometColumnarToRow", "CometHashAggregate", "CometExchange", "CometIcebergNativeScan"],
    "trades": 1000,
}


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def faults(environment: Mapping[str, str], project: Path) -> dict[str, str]:
    """Return the faults by name, without that of the CDS archives: a checkout may have none."""
    found = {check.name: check.found for check in run_checks(environment, project) if check.state == "fault"}
    assert not [text for text in found.values() if "\n" in text or ": " not in text]
    found.pop("archives", None)
    return found


@pytest.fixture(autouse=True)
def _start_no_jvm(monkeypatch: pytest.MonkeyPatch) -> None:
    # All checks together would start five JVMs. tests/integration starts real ones.
    monkeypatch.setattr("ohlcv.setup.class_data_sharing.count_archived_classes", lambda role, engine: 2000)
    monkeypatch.setattr(native_check, "run_native_query", lambda: NATIVE_QUERY)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[dict[str, str]]:
    yield {"OHLCV_HOME": str(tmp_path / "home")}
    gc.collect()


def test_a_complete_installation_has_no_fault(home: dict[str, str], tmp_path: Path) -> None:
    create_tables(load_settings(home))
    assert faults(home, tmp_path) == {}
    names = [check.name for check in run_checks(home, tmp_path)]
    assert names == [
        *("settings", "Java", "jars", "archives", "native", "port"),
        *("catalog", "warehouse", "tables", "views", "ledger", "coverage", "Spark", "Airflow"),
    ]


def test_an_empty_installation_needs_tables_and_is_not_changed(home: dict[str, str], tmp_path: Path) -> None:
    assert faults(home, tmp_path) == {"tables": "there are no tables yet: run 'ohlcv tables create'"}
    assert not Path(home["OHLCV_HOME"]).exists()


def test_every_invalid_setting_is_reported(tmp_path: Path) -> None:
    environment = {
        "OHLCV_HOMES": "/x",
        "OHLCV_CATALOG_URI": "mysql://u@h/d",
        "OHLCV_CATALOG_PASSWORD": "unused",
        "OHLCV_1D_EXECUTOR_MEMORY": "lots",
        "OHLCV_EXECUTOR_CORES": "0",
        "OHLCV_AIRFLOW_URL": "nowhere",
        "PATH": "/bin",
    }
    assert sorted(settings_faults(environment)) == [
        "OHLCV_1D_EXECUTOR_MEMORY must be from 512m to 1024g, as in 1024m or 2g, not 'lots'",
        "OHLCV_AIRFLOW_URL is 'nowhere': give an address such as http://host:8080, without user, password or query",
        "OHLCV_CATALOG_URI is 'mysql://…': use sqlite, postgresql, http or https",
        "OHLCV_EXECUTOR_CORES must be a whole number from 1 to 1024, not '0'",
        "unknown setting OHLCV_HOMES: did you mean OHLCV_HOME?",
    ]
    # Checks that need valid settings are skipped.
    assert {check.name for check in run_checks(environment, tmp_path)} == {
        "settings",
        "Java",
        "jars",
        "archives",
        "native",
        "port",
    }


def test_an_unreachable_catalog_is_reported(home: dict[str, str], tmp_path: Path) -> None:
    for uri, reason in (
        (f"postgresql://u@127.0.0.1:{closed_port()}/d", "refused"),
        ("postgresql://u@no.such.host.invalid/d", "resolve host 'no.such.host.invalid'"),
        (f"http://127.0.0.1:{closed_port()}/iceberg", "refused"),
        ("http://no.such.host.invalid/iceberg", "no.such.host.invalid"),
    ):
        # Without a catalog the tables are not checked.
        [(name, fault)] = faults({**home, "OHLCV_CATALOG_URI": uri}, tmp_path).items()
        assert name == "catalog"
        assert fault.startswith(f"the catalog {load_settings({'OHLCV_CATALOG_URI': uri}).catalog} does not answer (")
        assert reason in fault
        assert fault.endswith(": check OHLCV_CATALOG_URI")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with postgres_server(tmp_path_factory.mktemp("postgres"), volatile=True) as found:
        yield found


def test_a_wrong_password_is_reported_without_the_password(
    home: dict[str, str], tmp_path: Path, server: PostgresServer
) -> None:
    uri = f"postgresql://{server.user}@127.0.0.1:{server.port}/{server.database}"
    wrong = {**home, "OHLCV_CATALOG_URI": uri, "OHLCV_CATALOG_PASSWORD": "hunter2"}
    [fault] = faults(wrong, tmp_path).values()
    assert 'denies access (connection failed: connection to server at "127.0.0.1"' in fault
    assert 'password authentication failed for user "ohlcv"' in fault
    assert fault.endswith(": check OHLCV_CATALOG_PASSWORD")
    assert "hunter2" not in fault
    right = {**wrong, "OHLCV_CATALOG_PASSWORD": server.password}
    [fault] = faults(right, tmp_path).values()
    assert fault == "there is no table market_data.gold_crypto_trades: run 'ohlcv tables create'"


def test_a_wrong_token_is_reported_without_the_token(home: dict[str, str], tmp_path: Path) -> None:
    with json_server({}) as address:
        found = faults({**home, "OHLCV_CATALOG_URI": address, "OHLCV_CATALOG_TOKEN": "hunter2"}, tmp_path)
    assert found["catalog"].startswith(f"the catalog {address} denies access (")
    assert found["catalog"].endswith(": check OHLCV_CATALOG_TOKEN")
    assert "hunter2" not in found["catalog"]


def test_a_table_that_differs_from_its_contract_is_reported(home: dict[str, str], tmp_path: Path) -> None:
    settings = load_settings(home)
    create_tables(settings)
    with open_catalog(settings).load_table(("market_data", "gold_ohlcv_1h")).update_schema() as update:
        update.delete_column("vwap")
    [fault] = faults(home, tmp_path).values()
    assert fault.startswith("market_data.gold_ohlcv_1h does not match its contract: ")


def test_a_ledger_that_has_not_begun_is_no_fault(home: dict[str, str], tmp_path: Path) -> None:
    create_tables(load_settings(home))
    [found] = [check for check in run_checks(home, tmp_path) if check.name == "ledger"]
    assert (found.state, found.found.partition(": ")[2]) == (
        "unused",
        "no publication is recorded yet: unpause the DAG ohlcv_ledger, or run 'ohlcv ledger record'",
    )


def test_an_outdated_view_is_a_warning_and_a_missing_one_is_none(home: dict[str, str], tmp_path: Path) -> None:
    def views() -> tuple[str, str]:
        [found] = [check for check in run_checks(home, tmp_path) if check.name == "views"]
        return found.state, found.found

    settings = load_settings(home)
    create_tables(settings)
    names = "market_data.ohlcv, market_data.ohlcv_latest"
    assert views() == ("unused", f"{names}: no such view: 'ohlcv tables create' creates and replaces them")
    path, _ = store_views(settings)
    assert views() == ("ok", f"{names} read 1m, 5m, 30m, 1h, 1d")
    extend(settings, settings.candles_contract(settings.timeframe("1h")))
    problem = "not the enabled timeframes with all their columns: run 'ohlcv tables create'"
    assert views() == ("warning", f"{names}: {problem}")
    path.unlink()
    assert faults(home, tmp_path).keys() == {"views"}


def test_a_warehouse_that_is_not_a_folder_is_reported(home: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = faults({**home, "OHLCV_WAREHOUSE": str(tmp_path / "file")}, tmp_path)
    assert found["warehouse"] == (
        f"the warehouse (OHLCV_WAREHOUSE) {tmp_path}/file is not writable (Not a directory): "
        "choose another folder or grant access"
    )


def test_an_unreachable_store_is_reported(home: dict[str, str], tmp_path: Path) -> None:
    endpoint = f"http://127.0.0.1:{closed_port()}"
    keys = {"OHLCV_S3_ACCESS_KEY": "me", "OHLCV_S3_SECRET_KEY": "hunter2"}
    found = faults({**home, "OHLCV_WAREHOUSE": "s3://bucket", "OHLCV_S3_ENDPOINT": endpoint, **keys}, tmp_path)
    assert found["warehouse"].startswith(f"the store {endpoint} does not answer (")
    assert found["warehouse"].endswith(": start it, or correct OHLCV_S3_ENDPOINT")


def test_missing_and_modified_jars_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OHLCV_JARS", str(tmp_path))
    first, *others = chosen_jars()
    for jar in others:
        (tmp_path / jar.file_name).symlink_to(share_directory() / "jars" / jar.file_name)
    assert [check.found for check in doctor.check_jars()] == [
        f"the jar {first.file_name} is not in {tmp_path}: run 'make setup'"
    ]
    (tmp_path / first.file_name).write_text("something else")
    [check] = doctor.check_jars()
    assert f"not the pinned {first.sha256}: remove it and run 'make setup'" in check.found


def test_outdated_and_unused_archives_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ohlcv.setup.class_data_sharing.is_current", lambda: False)
    with pytest.raises(OhlcvError, match=r"jobs start slower: run 'make setup'$"):
        doctor.check_archives()
    monkeypatch.setattr("ohlcv.setup.class_data_sharing.is_current", lambda: True)
    assert doctor.check_archives() == "in use: a starting JVM loads 2,000 classes from them"
    monkeypatch.setattr(
        "ohlcv.setup.class_data_sharing.count_archived_classes",
        lambda role, engine: 0 if (role, engine) == ("executor", "native") else 2000,
    )
    archive = archive_path("executor", "native")
    message = f"no class from {archive}, so jobs start slower: remove {archive.parent} and run 'make setup'$"
    with pytest.raises(OhlcvError, match=message):
        doctor.check_archives()


def test_native_execution_is_checked_by_the_plan_and_the_result_of_a_query(monkeypatch: pytest.MonkeyPatch) -> None:
    used = doctor.check_native(load_settings({"OHLCV_1D_EXECUTION": "native"}))
    text = "a small query was scanned and aggregated natively"
    assert used == Check("native", "ok", f"{text}; used by: reprocessing, 1d")
    rest = load_settings({"OHLCV_CATALOG_URI": "http://rest/iceberg"})
    assert doctor.check_native(rest).found == f"{text}; not used, because the catalog vends the keys of the store"
    assert doctor.check_native(None) == Check("native", "ok", text)
    for report, reason in (
        ({"problem": "no comet in java.library.path"}, "the native library cannot be loaded (no comet in java"),
        (
            {**NATIVE_QUERY, "operators": ["CometHashAggregate"]},
            "a query did not run natively (CometIcebergNativeScan)",
        ),
        ({**NATIVE_QUERY, "trades": 999}, "a query did not run natively (wrong result)"),
    ):
        monkeypatch.setattr(native_check, "run_native_query", lambda report=report: report)
        found = doctor.check_native(load_settings({}))
        # Jobs succeed on the JVM.
        assert found.state == "warning"
        assert found.found.startswith(reason)
        assert "set OHLCV_NATIVE=no" in found.found


def test_native_execution_that_is_turned_off_or_not_installed_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_check, "run_native_query", lambda: pytest.fail("the query ran"))
    assert doctor.check_native(load_settings({"OHLCV_NATIVE": "no"})) == Check("native", "unused", "OHLCV_NATIVE is no")
    monkeypatch.setenv("OHLCV_JAR_SETS", "aws")
    assert doctor.check_native(None) == Check("native", "unused", "the jar set native is not installed")


def test_an_env_file_is_required_only_for_containers(home: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yaml").write_text("services: {}\n")
    assert "compose" not in faults(home, tmp_path)
    assert next(check_deployment(tmp_path, home)) == Check(
        "compose", "unused", "no .env: run 'make env' before 'docker compose up'"
    )
    found = faults({**home, "OHLCV_VALIDATION_RUNTIME": "docker"}, tmp_path)
    assert found["compose"] == "docker-compose.yaml needs a file .env in its folder: run 'make env'"


def test_a_port_that_another_program_uses_is_reported(tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yaml").write_text("services: {}\n")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        (tmp_path / ".env").write_text(f"A=b\nOHLCV_WEB_PORT={port}\n")
        assert list(check_deployment(tmp_path, {})) == [
            Check("compose", "ok", ".env exists"),
            Check(
                "port",
                "fault",
                f"port {port} is in use by another program: stop it, or set another OHLCV_WEB_PORT in .env",
            ),
        ]
    assert list(check_deployment(tmp_path, {}))[1] == Check("port", "ok", f"{port} is free")
    (tmp_path / ".env").write_bytes(b"A=\x80\nOHLCV_WEB_PORT=\xc2\xb2\n")
    assert list(check_deployment(tmp_path, {}))[1].found.startswith("OHLCV_WEB_PORT in .env is '\u00b2', not a port")
    (tmp_path / ".env").write_text("OHLCV_WEB_PORT=http\n")
    assert list(check_deployment(tmp_path, {}))[1].found == (
        "OHLCV_WEB_PORT in .env is 'http', not a port: set it to a number such as 8080"
    )


def test_a_port_that_airflow_uses_is_no_fault() -> None:
    with json_server({"/api/v2/version": {"version": "3.3.2"}}) as address:
        port = address.rpartition(":")[2]
        assert check_deployed_port(f'OHLCV_WEB_PORT="{port}"') == f"{port}: Airflow answers"


def test_the_demo_port_in_use_is_no_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setattr(doctor, "DEMO_PORT", listener.getsockname()[1])
        [check] = check_deployment(tmp_path, {})
        assert (check.state, "in use: the demo will use another port" in check.found) == ("ok", True)


def test_faults_of_spark_and_airflow_are_reported(home: dict[str, str], tmp_path: Path) -> None:
    create_tables(load_settings(home))
    login = {"OHLCV_AIRFLOW_USER": "me", "OHLCV_AIRFLOW_PASSWORD": "hunter2"}
    master = f"spark://127.0.0.1:{closed_port()}"
    with json_server({"/json/": {"workers": [{"state": "DEAD", "cores": 1, "memory": 1}]}}) as web:
        everything = {**home, **login, "OHLCV_SPARK_MASTER": master, "OHLCV_SPARK_WEB": web, "OHLCV_AIRFLOW_URL": web}
        found = faults(everything, tmp_path)
    assert found["Spark"].startswith(f"the Spark master {master} does not answer (")
    assert found["workers"] == (
        "0 alive, 0 cores, 0 MiB: start workers (expected: 1 alive), or correct OHLCV_SPARK_WEB"
    )
    assert found["Airflow"].startswith(f"Airflow at {web} refused POST /auth/token: 401")
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        json_server({"/auth/token": {"access_token": "t"}, "/api/v2/dags": {"dags": []}}) as web,
    ):
        master = f"spark://127.0.0.1:{listener.getsockname()[1]}"
        found = faults({**home, **login, "OHLCV_SPARK_MASTER": master, "OHLCV_AIRFLOW_URL": web}, tmp_path)
    assert found == {"Airflow": f"Airflow at {web} has no DAG ohlcv_1m: check its import errors"}


def test_the_command_exits_with_1_if_there_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Check("Java", "ok", "17"), Check("jars", "fault", "the jar x is not in y: run 'make setup'")]
    monkeypatch.setattr(doctor, "run_checks", lambda environment: iter(found))
    result = CliRunner().invoke(command, standalone_mode=False)
    assert result.output == "ok       Java       17\nfault    jars       the jar x is not in y: run 'make setup'\n"
    assert result.return_value == 1
    result = CliRunner().invoke(command, ["--format", "json"], standalone_mode=False)
    assert json.loads(result.output)[1] == {
        "name": "jars",
        "state": "fault",
        "found": "the jar x is not in y: run 'make setup'",
    }
    del found[1]
    assert CliRunner().invoke(command, standalone_mode=False).return_value == 0


def test_the_catalog_is_checked_through_both_clients_on_request(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OHLCV_HOME", str(tmp_path))
    monkeypatch.setattr(doctor, "run_checks", lambda environment: iter([Check("Java", "ok", "17")]))
    checked: list[str] = []

    def client(name: str, *found: Check) -> None:
        def check(_: object) -> list[Check]:
            checked.append(name)
            return list(found)

        monkeypatch.setitem(catalog_check.CLIENTS, name, check)

    client("pyiceberg", Check("pyiceberg reach", "ok", "it answers"), Check("pyiceberg drop", "warning", "dropped"))
    client("Spark", Check("Spark reach", "ok", "it answers"))
    assert CliRunner().invoke(command, standalone_mode=False).return_value == 0
    assert checked == []
    result = CliRunner().invoke(command, ["--catalog"], standalone_mode=False)
    assert result.stdout.splitlines() == [
        "ok       Java                    17",
        "ok       pyiceberg reach         it answers",
        "warning  pyiceberg drop          dropped",
        "ok       Spark reach             it answers",
    ]
    assert result.stderr.startswith("checking the catalog through pyiceberg …\n")
    assert result.return_value == 0
    # A fault of one client does not stop the check of the other one, unless nothing answers.
    client("pyiceberg", Check("pyiceberg create", "fault", "permission denied"))
    result = CliRunner().invoke(command, ["--catalog", "--format", "json"], standalone_mode=False)
    assert [check["name"] for check in json.loads(result.stdout)] == ["Java", "pyiceberg create", "Spark reach"]
    assert (result.return_value, result.stderr) == (1, "")
    client("pyiceberg", Check("pyiceberg reach", "fault", "it does not answer"))
    result = CliRunner().invoke(command, ["--catalog", "--format", "json"], standalone_mode=False)
    assert [check["name"] for check in json.loads(result.stdout)] == ["Java", "pyiceberg reach"]
    assert checked == ["pyiceberg", "Spark", "pyiceberg", "Spark", "pyiceberg"]


def test_invalid_settings_end_the_check_of_the_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OHLCV_CATALOG_URI", "mysql://u@h/d")
    monkeypatch.setattr(doctor, "run_checks", lambda environment: iter([Check("settings", "fault", "mysql: use …")]))
    result = CliRunner().invoke(command, ["--catalog"], standalone_mode=False)
    assert (result.return_value, result.stdout) == (1, "fault    settings                mysql: use …\n")
