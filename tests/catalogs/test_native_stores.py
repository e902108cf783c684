"""Native execution on S3 stores: keys, session token, TLS; no secret in logs, plans and on the web page."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from catalogs.kinds import Servers, configuration, login_properties, store_properties
from catalogs.vending import HOUR, TRADES
from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.model.intervals import to_microseconds
from ohlcv.spark.local_cluster import local_cluster
from ohlcv.spark.spark_submit import build_job, run
from ohlcv.spark.trust_store import PASSWORD, write_trust_store
from support.catalog_servers.gateway import rest_gateway
from support.harness import append, read_stored_candles
from support.reference_model import reference_candles
from support.stores import REGION, ObjectStore, object_store

pytestmark = [
    pytest.mark.catalogs,
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
]


@dataclass(frozen=True)
class Tables:
    """Tables with one hour of trades in a store, and the settings of a job."""

    settings: Settings
    environment: dict[str, str]

    def assert_exact(self) -> None:
        """Compare the stored candles with the reference."""
        table = load_table(open_catalog(self.settings), self.settings.candles_contract(self.settings.timeframe("1m")))
        stored = {key: each.candle for key, each in read_stored_candles(table).items()}
        span = (to_microseconds(HOUR.start), to_microseconds(HOUR.end))
        assert stored == reference_candles(TRADES, 60_000_000, [span]).candles


def new_tables(folder: Path, environment: dict[str, str], of_job: dict[str, str] | None = None) -> Tables:
    """Create tables with one hour of trades. The job may have other settings of the store."""
    own = {"OHLCV_HOME": str(folder / "home"), "OHLCV_1M_EXECUTION": "native"}
    settings = load_settings({**own, **environment})
    create_tables(settings)
    append(load_table(open_catalog(settings), settings.trades_contract), TRADES)
    return Tables(settings, {**own, **environment, **(of_job or {})})


def run_natively(tables: Tables, folder: Path, secrets: list[str], java_options: str = "") -> None:
    """Run a job on a cluster. Check that it ran natively, and that neither logs nor plans contain a secret."""
    events = folder / "events"
    events.mkdir()
    job = build_job(load_settings(tables.environment), "1m", HOUR)
    # The event log has everything that the web page shows, with the plans of the queries.
    shown = {
        "spark.eventLog.enabled": "true",
        "spark.eventLog.compress": "false",
        "spark.eventLog.dir": events.as_uri(),
        "spark.log.level": "INFO",
        "spark.comet.explain.native.enabled": "true",
    }
    options = {
        name: f"{value} {java_options}" if name.endswith("extraJavaOptions") else value
        for name, value in job.conf.items()
    }
    job = dataclasses.replace(job, conf={**options, **shown})
    with local_cluster(folder / "cluster") as cluster:
        result = run(job, cluster.master, tables.environment)
    assert result.exit_code == 0, result.log
    assert json.loads(result.last_line)["execution"] == {"requested": "native", "engine": "native"}, result.log
    tables.assert_exact()
    written = [
        path.read_text(errors="replace")
        for path in (*events.rglob("*"), *(folder / "cluster").rglob("std*"))
        if path.is_file()
    ]
    assert any("CometIcebergNativeScan" in text for text in written)
    for secret in secrets:
        assert not [text for text in (result.log, *written) if secret in text]


def test_a_store_with_an_endpoint_and_keys_is_read_natively(servers: Servers, tmp_path: Path) -> None:
    store = servers.store
    warehouse = {"OHLCV_WAREHOUSE": f"s3://{store.new_bucket()}/candles", **store.environment}
    run_natively(new_tables(tmp_path, warehouse), tmp_path, [store.secret_key])


def test_the_session_token_of_a_store_is_used_natively(servers: Servers, tmp_path: Path) -> None:
    store = servers.expiring_store
    store.reset()
    store.vendor.renewable = False
    keys = store.vendor.keys()
    catalog = configuration(
        {
            "type": "sql",
            "uri": f"sqlite:///{tmp_path}/catalog.db",
            "warehouse": f"s3://{store.new_bucket()}/candles",
            "s3.endpoint": store.endpoint,
            "s3.region": REGION,
            **keys,
        }
    )
    run_natively(new_tables(tmp_path, catalog), tmp_path, [keys["s3.secret-access-key"], keys["s3.session-token"]])
    assert not store.refused
    assert store.used == {keys["s3.access-key-id"]}


def test_a_store_of_a_private_authority_is_read_natively(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, folder = servers.authority, tmp_path / "s3"
    trust = tmp_path / "trust.p12"
    write_trust_store(trust, str(authority.ca_file))
    trusted = f"-Djavax.net.ssl.trustStore={trust} -Djavax.net.ssl.trustStorePassword={PASSWORD}"
    # This process reads and writes the same files without TLS: pyarrow takes the authorities when it is imported.
    with object_store(folder) as plain, object_store(folder, authority.certificate) as store:
        warehouse = {"OHLCV_WAREHOUSE": f"s3://{plain.new_bucket()}/candles"}
        tables = new_tables(tmp_path, {**warehouse, **plain.environment}, store.environment)
        # The worker passes its environment to its executors.
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
        run_natively(tables, tmp_path, [store.secret_key], trusted)


def test_the_private_authority_of_a_catalog_is_trusted_natively(servers: Servers, tmp_path: Path) -> None:
    plain, authority = servers.store, servers.authority
    servers.rest.clear()
    with (
        rest_gateway(servers.rest.address, issuer=servers.issuer, tls=authority.server) as gateway,
        object_store(plain.folder.parent, authority.certificate) as store,
    ):

        def catalog_in(of_clients: ObjectStore) -> dict[str, str]:
            login = login_properties(servers.issuer, "catalog")
            address = {"type": "rest", "uri": gateway.address, "ssl.cabundle": str(authority.ca_file)}
            return configuration({**address, **login, **store_properties(of_clients)})

        # pyiceberg trusts the authority for its requests to the catalog only.
        of_job = {**catalog_in(store), "OHLCV_AUDIT": "after"}
        run_natively(new_tables(tmp_path, catalog_in(plain), of_job), tmp_path, [store.secret_key])
