"""S3 keys that a REST catalog vends and that expire while a job or a reader uses them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalogs.kinds import Servers, login_properties
from catalogs.vending import HOUR, SPAN, TRADES, VendingCatalog, vending_catalog
from ohlcv.spark.local_cluster import local_cluster
from ohlcv.spark.spark_submit import build_job, run
from support.command_line import ColdCommandLine
from support.processes import wait_for

pytestmark = [
    pytest.mark.catalogs,
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
]

# Seconds until keys expire.
LIFETIME = 6.0
# Part of the path of a data file.
DATA = "/data/"


@pytest.fixture
def catalog(servers: Servers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[VendingCatalog]:
    issuer = servers.issuer
    login = login_properties(issuer, "catalog")
    with vending_catalog(servers, monkeypatch, tmp_path / "home", login, issuer=issuer) as found:
        yield found


@pytest.mark.parametrize("audit", ["before", "after"])
def test_a_job_outlives_its_keys_on_driver_and_executor(catalog: VendingCatalog, tmp_path: Path, audit: str) -> None:
    store, vendor = catalog.store, catalog.store.vendor
    with local_cluster(tmp_path / "cluster") as cluster:
        vendor.lifetime = LIFETIME
        # An executor or the audit reads the trades. All later requests need other keys than those of its start.
        store.hold_next(DATA)
        result = run(build_job(catalog.settings, "1m", HOUR), cluster.master, {"OHLCV_AUDIT": audit})
    assert result.exit_code == 0, result.log
    assert json.loads(result.last_line)["candles"]["inserted"] == len(TRADES)
    vendor.lifetime = 3600.0
    assert len(store.held) == 1
    assert not store.refused
    assert catalog.gateway.renewals > 0
    assert len(store.used) > 1
    catalog.assert_exact()


def test_a_job_with_keys_that_cannot_be_renewed_ends_with_one_line(catalog: VendingCatalog) -> None:
    store, vendor = catalog.store, catalog.store.vendor
    vendor.lifetime, vendor.renewable = 20.0, False
    store.hold_next(DATA)
    # Only Spark reads the trades.
    result = run(build_job(catalog.settings, "1m", HOUR), "local[1]", {"OHLCV_AUDIT": "after"})
    assert result.exit_code == 1
    assert store.refused["ExpiredToken"] > 0
    assert result.log.splitlines()[-1] == (
        "error: the store denies access (The provided token has expired.): "
        "check the keys that the catalog vends, and how long they last"
    )
    vendor.lifetime = 3600.0
    assert catalog.table("1m").scan().to_arrow().num_rows == 0


def test_pyiceberg_renews_keys(catalog: VendingCatalog) -> None:
    vendor = catalog.store.vendor
    vendor.lifetime = LIFETIME
    table = catalog.table()
    for _ in range(2):
        end = vendor.newest_end()
        wait_for(lambda end=end: time.time() > end, "the end of the keys")  # type: ignore[misc]
        assert table.scan().to_arrow().num_rows == len(TRADES)
    assert not catalog.store.refused


def test_keys_that_pyiceberg_cannot_renew_are_reported_in_one_line(catalog: VendingCatalog, tmp_path: Path) -> None:
    catalog.store.vendor.lifetime, catalog.store.vendor.renewable = 0.0, False
    command_line = ColdCommandLine(tmp_path)
    command_line.environment |= catalog.environment
    for command in ("candles", "validate"):
        message = command_line.fail(1, command, *SPAN)
        assert message.startswith(f"the store of the catalog {catalog.gateway.address} denies access to bucket-")
        assert message.endswith("grant it, or correct the keys that the catalog vends, and how long they last")
    print(message)
