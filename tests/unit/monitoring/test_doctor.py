"""The doctor: every fault is told in one line that says what to do, and a sound house has none."""

from __future__ import annotations

import gc
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from ohlcv.cli.doctor import doctor as command
from ohlcv.config.settings import load_settings
from ohlcv.iceberg.tables import create_tables, open_catalog
from ohlcv.model.errors import OhlcvError
from ohlcv.monitoring import doctor
from ohlcv.monitoring.doctor import Check, check_deployed_port, deployment, run_checks, settings_faults
from ohlcv.spark import toolchain
from ohlcv.spark.toolchain import JARS
from ohlcv.demo.local_postgres import PostgresServer, postgres_server

# pyiceberg leaves its catalogs' connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")


@contextmanager
def answering(answers: Mapping[str, object]) -> Iterator[str]:
    """Run a web server that answers some paths in JSON and refuses the others; give its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answers.get(self.path.partition("?")[0])
            self.send_response(401 if found is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps(found if found is not None else {"error": "no"}).encode())

        do_POST = do_GET  # noqa: N815 - the library's name

        def log_message(self, format: str, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def faults(environment: Mapping[str, str], project: Path) -> dict[str, str]:
    """Give what the doctor finds wrong, but for the archives: not every checkout has them."""
    found = {check.name: check.found for check in run_checks(environment, project) if check.state == "fault"}
    assert not [text for text in found.values() if "\n" in text or ": " not in text]
    found.pop("archives", None)
    return found


@pytest.fixture(autouse=True)
def _no_jvm(monkeypatch: pytest.MonkeyPatch) -> None:
    # Every look at everything would start two; test_fast_start.py asks real ones.
    monkeypatch.setattr("ohlcv.setup.class_data_sharing.count_archived_classes", lambda role: 2000)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[dict[str, str]]:
    yield {"OHLCV_HOME": str(tmp_path / "home")}
    gc.collect()


def test_a_sound_house_has_no_fault(home: dict[str, str], tmp_path: Path) -> None:
    create_tables(load_settings(home))
    assert faults(home, tmp_path) == {}
    names = [check.name for check in run_checks(home, tmp_path)]
    assert names == [
        *("settings", "Java", "jars", "archives", "port"),
        *("catalog", "warehouse", "tables", "Spark", "Airflow"),
    ]


def test_an_empty_house_needs_tables_and_stays_empty(home: dict[str, str], tmp_path: Path) -> None:
    assert faults(home, tmp_path) == {"tables": "there are no tables yet: run 'ohlcv tables create'"}
    assert not Path(home["OHLCV_HOME"]).exists()


def test_every_setting_that_cannot_be_meant_is_told(tmp_path: Path) -> None:
    environment = {
        "OHLCV_HOMES": "/x",
        "OHLCV_CATALOG_URI": "mysql://u@h/d",
        "OHLCV_CATALOG_PASSWORD": "of a catalog nobody knows",
        "OHLCV_1D_EXECUTOR_MEMORY": "lots",
        "OHLCV_EXECUTOR_CORES": "0",
        "OHLCV_AIRFLOW_URL": "nowhere",
        "PATH": "/bin",
    }
    assert sorted(settings_faults(environment)) == [
        "OHLCV_1D_EXECUTOR_MEMORY: executor_memory must be 512m or more, as in 1024m or 2g, not 'lots'",
        "OHLCV_AIRFLOW_URL is 'nowhere': give an address such as http://host:8080",
        "OHLCV_CATALOG_URI starts with 'mysql': use sqlite, postgresql, http or https",
        "OHLCV_EXECUTOR_CORES: executor_cores must be 1 or more, not 0",
        "unknown setting OHLCV_HOMES: did you mean OHLCV_HOME?",
    ]
    # What depends on them is not guessed at.
    assert {check.name for check in run_checks(environment, tmp_path)} == {"settings", "Java", "jars", "archives", "port"}


def test_a_catalog_that_is_down_or_elsewhere(home: dict[str, str], tmp_path: Path) -> None:
    for uri, word in (
        (f"postgresql://u@127.0.0.1:{closed_port()}/d", "refused"),
        ("postgresql://u@no.such.host.invalid/d", "resolve host 'no.such.host.invalid'"),
        (f"http://127.0.0.1:{closed_port()}/iceberg", "refused"),
        ("http://no.such.host.invalid/iceberg", "no.such.host.invalid"),
    ):
        # A catalog that is down has no tables to look at.
        [(name, fault)] = faults({**home, "OHLCV_CATALOG_URI": uri}, tmp_path).items()
        assert name == "catalog"
        assert fault.startswith(f"the catalog {load_settings({'OHLCV_CATALOG_URI': uri}).catalog} does not answer (")
        assert word in fault
        assert fault.endswith(": check OHLCV_CATALOG_URI")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with postgres_server(tmp_path_factory.mktemp("postgres"), volatile=True) as found:
        yield found


def test_a_wrong_password(home: dict[str, str], tmp_path: Path, server: PostgresServer) -> None:
    uri = f"postgresql://{server.user}@127.0.0.1:{server.port}/{server.database}"
    wrong = {**home, "OHLCV_CATALOG_URI": uri, "OHLCV_CATALOG_PASSWORD": "hunter2"}
    [fault] = faults(wrong, tmp_path).values()
    assert 'refuses us (connection failed: connection to server at "127.0.0.1"' in fault
    assert 'password authentication failed for user "ohlcv"' in fault
    assert fault.endswith(": check OHLCV_CATALOG_PASSWORD")
    assert "hunter2" not in fault
    right = {**wrong, "OHLCV_CATALOG_PASSWORD": server.password}
    [fault] = faults(right, tmp_path).values()
    assert fault == "there is no table market_data.gold_crypto_trades: run 'ohlcv tables create'"


def test_a_rest_catalog_asks_for_its_token(home: dict[str, str], tmp_path: Path) -> None:
    with answering({}) as address:
        found = faults({**home, "OHLCV_CATALOG_URI": address, "OHLCV_CATALOG_TOKEN": "hunter2"}, tmp_path)
    assert found["catalog"].startswith(f"the catalog {address} refuses us (")
    assert found["catalog"].endswith(": check OHLCV_CATALOG_TOKEN")
    assert "hunter2" not in found["catalog"]


def test_a_table_that_is_not_as_agreed(home: dict[str, str], tmp_path: Path) -> None:
    settings = load_settings(home)
    create_tables(settings)
    with open_catalog(settings).load_table(("market_data", "gold_ohlcv_1h")).update_schema() as update:
        update.delete_column("vwap")
    [fault] = faults(home, tmp_path).values()
    assert fault.startswith("market_data.gold_ohlcv_1h is not as agreed: ")


def test_a_warehouse_that_is_no_folder(home: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = faults({**home, "OHLCV_WAREHOUSE": str(tmp_path / "file")}, tmp_path)
    assert found["warehouse"] == (
        f"the warehouse (OHLCV_WAREHOUSE) {tmp_path}/file is not writable (Not a directory): "
        "choose another or grant access"
    )


def test_a_store_that_is_down(home: dict[str, str], tmp_path: Path) -> None:
    endpoint = f"http://127.0.0.1:{closed_port()}"
    keys = {"OHLCV_S3_ACCESS_KEY": "me", "OHLCV_S3_SECRET_KEY": "hunter2"}
    found = faults({**home, "OHLCV_WAREHOUSE": "s3://bucket", "OHLCV_S3_ENDPOINT": endpoint, **keys}, tmp_path)
    assert found["warehouse"].startswith(f"the store {endpoint} does not answer (")
    assert found["warehouse"].endswith(": start it, or correct OHLCV_S3_ENDPOINT")


def test_jars_that_are_missing_or_not_the_pinned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OHLCV_JARS", str(tmp_path))
    for jar, path in zip(JARS[1:], [tmp_path / jar.file_name for jar in JARS[1:]], strict=True):
        path.symlink_to(toolchain.share_directory() / "jars" / jar.file_name)
    assert [check.found for check in doctor.jars()] == [
        f"the jar {JARS[0].file_name} is not in {tmp_path}: run 'make setup'"
    ]
    (tmp_path / JARS[0].file_name).write_text("something else")
    [check] = doctor.jars()
    assert f"not the pinned {JARS[0].sha256}: remove it and run 'make setup'" in check.found


def test_archives_that_do_not_fit_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ohlcv.setup.class_data_sharing.is_current", lambda: False)
    with pytest.raises(OhlcvError, match=r"jobs start slower: run 'make setup'$"):
        doctor.archives()
    monkeypatch.setattr("ohlcv.setup.class_data_sharing.is_current", lambda: True)
    assert doctor.archives() == "of classes in use: a starting JVM takes 2,000 from them"
    monkeypatch.setattr("ohlcv.setup.class_data_sharing.count_archived_classes", lambda role: 0 if role == "executor" else 2000)
    with pytest.raises(OhlcvError, match=r"no class from the archive of the executor, .* and run 'make setup'$"):
        doctor.archives()


def test_a_deployment_without_its_secrets(home: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yaml").write_text("services: {}\n")
    assert faults(home, tmp_path)["compose"] == "docker-compose.yaml needs a file .env beside it: run 'make env'"


def test_a_port_that_is_in_use(tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yaml").write_text("services: {}\n")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        (tmp_path / ".env").write_text(f"A=b\nOHLCV_WEB_PORT={port}\n")
        assert list(deployment(tmp_path)) == [
            Check("compose", "ok", ".env is there"),
            Check(
                "port",
                "fault",
                f"port {port} is in use by another program: end it, or set another OHLCV_WEB_PORT in .env",
            ),
        ]
    assert list(deployment(tmp_path))[1] == Check("port", "ok", f"{port} is free")
    (tmp_path / ".env").write_text("OHLCV_WEB_PORT=http\n")
    assert list(deployment(tmp_path))[1].found == ("OHLCV_WEB_PORT in .env is 'http': give a port such as 8080")


def test_a_port_that_airflow_listens_on_is_as_it_should_be() -> None:
    with answering({"/api/v2/version": {"version": "3.3.2"}}) as address:
        port = address.rpartition(":")[2]
        assert check_deployed_port(f'OHLCV_WEB_PORT="{port}"') == f"{port}: Airflow answers"


def test_a_demo_is_told_that_its_port_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setattr(doctor, "DEMO_PORT", listener.getsockname()[1])
        [check] = deployment(tmp_path)
        assert (check.state, "taken: a demo takes another one" in check.found) == ("ok", True)


def test_spark_and_airflow(home: dict[str, str], tmp_path: Path) -> None:
    create_tables(load_settings(home))
    login = {"OHLCV_AIRFLOW_USER": "me", "OHLCV_AIRFLOW_PASSWORD": "hunter2"}
    master = f"spark://127.0.0.1:{closed_port()}"
    with answering({"/json/": {"workers": [{"state": "DEAD", "cores": 1, "memory": 1}]}}) as web:
        everything = {**home, **login, "OHLCV_SPARK_MASTER": master, "OHLCV_SPARK_WEB": web, "OHLCV_AIRFLOW_URL": web}
        found = faults(everything, tmp_path)
    assert found["Spark"].startswith(f"the Spark master {master} does not answer (")
    assert found["workers"] == (
        "0 alive, 0 cores, 0 MiB: start workers (1 alive are wanted), or correct OHLCV_SPARK_WEB"
    )
    assert found["Airflow"].startswith(f"Airflow at {web} refused POST /auth/token: 401")
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        answering({"/auth/token": {"access_token": "t"}, "/api/v2/dags": {"dags": []}}) as web,
    ):
        master = f"spark://127.0.0.1:{listener.getsockname()[1]}"
        found = faults({**home, **login, "OHLCV_SPARK_MASTER": master, "OHLCV_AIRFLOW_URL": web}, tmp_path)
    assert found == {"Airflow": f"Airflow at {web} does not know ohlcv_1m: look at its import errors"}


def test_the_command_ends_with_1_where_there_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Check("Java", "ok", "17"), Check("jars", "fault", "the jar x is not in y: run 'make setup'")]
    monkeypatch.setattr(doctor, "run_checks", lambda environment: iter(found))
    result = CliRunner().invoke(command, standalone_mode=False)
    assert result.output == "ok      Java       17\nfault   jars       the jar x is not in y: run 'make setup'\n"
    assert result.return_value == 1
    result = CliRunner().invoke(command, ["--format", "json"], standalone_mode=False)
    assert json.loads(result.output)[1] == {
        "name": "jars",
        "state": "fault",
        "found": "the jar x is not in y: run 'make setup'",
    }
    del found[1]
    assert CliRunner().invoke(command, standalone_mode=False).return_value == 0
