"""`ohlcv doctor --catalog` on real services through both clients: no fault, warnings, and broken configurations."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ohlcv.config.settings import load_settings
from ohlcv.demo.local_postgres import PostgresServer
from ohlcv.iceberg.tables import create_tables, open_catalog
from ohlcv.monitoring.catalog_check import CLIENTS, is_unreachable
from ohlcv.monitoring.doctor import Check
from support.catalog_servers.gateway import Gateway, rest_gateway
from support.catalog_servers.iceberg_rest import iceberg_rest_server
from support.catalog_servers.issuer import Issuer, oidc_issuer
from support.catalog_servers.vended_keys import KeyVendor
from support.databases import catalog_environment, new_database
from support.processes import QUICK_JAVA
from support.stores import ObjectStore, RestCatalog

pytestmark = [
    pytest.mark.catalogs,
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
]

STEPS = [
    "reach",
    "authenticate",
    "list",
    "read trades",
    "create",
    "commit",
    "roll back",
    "history",
    "gc.enabled",
    "drop",
]
READABLE = ["reach", "authenticate", "list", "read trades", "gc.enabled"]


@pytest.fixture(autouse=True)
def _close_connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(*QUICK_JAVA)
    yield
    # pyiceberg does not close the connections of its catalogs. The garbage collector does.
    gc.collect()


def check_chain(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Check]]:
    """Return the results by client and step, as the command does. Spark runs as a job."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = {}
    for client, run in CLIENTS.items():
        checks = run(load_settings())
        print(*checks, sep="\n")
        found[client] = {check.name.removeprefix(f"{client} "): check for check in checks}
        if is_unreachable(checks):
            break
    return found


def steps(checks: dict[str, Check], state: str) -> list[str]:
    return [name for name, check in checks.items() if check.state == state]


def test_nessie_passes_with_warnings_about_its_history_and_its_garbage_collection(
    nessie: RestCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {"OHLCV_HOME": str(tmp_path), **nessie.new_branch()}
    settings = load_settings(environment)
    create_tables(settings)
    before = open_catalog(settings).list_tables("market_data")
    for found in check_chain(environment, monkeypatch).values():
        assert steps(found, "fault") == []
        assert found["history"].state == "warning"
        assert "shows only the newest snapshot of a table" in found["history"].found
        assert "roll back" not in found
        assert found["gc.enabled"].found.startswith("gc.enabled=false on market_data.gold_crypto_trades, ")
        assert "drop" in found
    assert open_catalog(settings).list_tables("market_data") == before


def test_the_whole_chain_passes_on_postgresql_and_s3(
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
    for found in check_chain(environment, monkeypatch).values():
        assert steps(found, "ok") == STEPS
    assert not [path for path in (store.folder / bucket).rglob("ohlcv_doctor*/*/*") if path.is_file()]
    for found in check_chain({**environment, "OHLCV_S3_SECRET_KEY": "wrong"}, monkeypatch).values():
        assert steps(found, "fault")[0] == "read trades"
        assert found["read trades"].found.partition("): ")[2].startswith("correct OHLCV_S3_ACCESS_KEY and ")


@dataclass
class Service:
    """A REST service that checks the tokens of an issuer and vends keys of the store."""

    issuer: Issuer
    gateway: Gateway

    def environment(self, home: Path, credential: str) -> dict[str, str]:
        key = "PYICEBERG_CATALOG__LAKE__"
        return {
            "OHLCV_HOME": str(home),
            "HOME": str(home),
            "OHLCV_CATALOG": "lake",
            f"{key}TYPE": "rest",
            f"{key}URI": self.gateway.address,
            f"{key}CREDENTIAL": credential,
            f"{key}OAUTH2_SERVER_URI": self.issuer.token_address,
            f"{key}SCOPE": "catalog",
        }


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, store: ObjectStore) -> Iterator[Service]:
    with (
        iceberg_rest_server(tmp_path_factory.mktemp("iceberg-rest"), store) as backend,
        oidc_issuer() as issuer,
        rest_gateway(backend.address, issuer=issuer, vendor=KeyVendor(store)) as gateway,
    ):
        yield Service(issuer, gateway)


def test_the_whole_chain_passes_with_client_credentials_and_vended_keys(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = service.environment(tmp_path, service.issuer.new_client())
    settings = load_settings(environment)
    create_tables(settings)
    before = open_catalog(settings).list_tables("market_data")
    for found in check_chain(environment, monkeypatch).values():
        assert steps(found, "ok") == STEPS
    assert open_catalog(settings).list_tables("market_data") == before


def test_a_refused_credential_is_reported_without_its_secret(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = service.issuer.new_client().partition(":")[0]
    for found in check_chain(service.environment(tmp_path, f"{name}:hunter2-hunter2"), monkeypatch).values():
        assert steps(found, "ok") == ["reach"]
        [step] = steps(found, "fault")
        assert step == "authenticate"
        assert found[step].found.startswith(f"the catalog {service.gateway.address} refuses the credential (")
        assert "correct 'credential' of the catalog lake (client id:secret), 'oauth2-server-uri'" in found[step].found
        assert "hunter2" not in found[step].found


def test_a_principal_that_may_list_but_not_write_is_reported(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, reader = service.issuer.new_client(), service.issuer.new_client("reader")
    create_tables(load_settings(service.environment(tmp_path, writer)))
    service.gateway.read_only.add(reader.partition(":")[0])
    for found in check_chain(service.environment(tmp_path, reader), monkeypatch).values():
        assert steps(found, "ok") == READABLE
        [step] = steps(found, "fault")
        assert step == "create"
        assert found[step].found.startswith("the catalog permits listing, but not writing: the table ")
        assert found[step].found.endswith(
            "the client may not use POST): grant the principal of the login the right to create tables in its "
            "namespace, as candles need"
        )


def test_an_expired_token_is_reported(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = service.environment(tmp_path, service.issuer.new_client())
    for key in ("CREDENTIAL", "OAUTH2_SERVER_URI", "SCOPE"):
        del environment[f"PYICEBERG_CATALOG__LAKE__{key}"]
    monkeypatch.setattr(service.issuer, "lifetime", -60.0)
    token = service.issuer.token("client")
    for found in check_chain({**environment, "PYICEBERG_CATALOG__LAKE__TOKEN": token}, monkeypatch).values():
        [step] = steps(found, "fault")
        assert step == "authenticate"
        assert "the token has expired" in found[step].found
        assert found[step].found.endswith(
            "): set a new 'token' of the catalog lake: this one is wrong, expired or for another service"
        )
        assert token not in found[step].found
