"""Requests to a REST catalog that are signed (SigV4), as for S3 Tables and Glue, by both clients."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalogs.kinds import Servers
from catalogs.vending import HOUR, SPAN, TRADES, VendingCatalog, vending_catalog
from ohlcv.quality.report import format_result
from ohlcv.quality.validator import validate
from ohlcv.spark.spark_submit import build_job, run
from support.catalog_servers.signatures import Signatures
from support.command_line import ColdCommandLine
from support.stores import REGION

pytestmark = [
    pytest.mark.catalogs,
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
]

SIGNING = {"rest.sigv4-enabled": "true", "rest.signing-name": "s3tables", "rest.signing-region": "eu-central-1"}
MASTER = "local[1]"
MISMATCH = "the signature does not match the request: check the secret key"


def signatures(access_key: str, secret_key: str) -> Signatures:
    return Signatures(access_key, secret_key, SIGNING["rest.signing-region"], SIGNING["rest.signing-name"])


@pytest.fixture
def catalog(servers: Servers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[VendingCatalog]:
    """Run a catalog that vends keys of its store, with the keys for signatures in the variables of AWS."""
    signing = signatures(f"signer-{secrets.token_hex(6)}", secrets.token_hex(16))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", signing.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", signing.secret_key)
    with vending_catalog(servers, monkeypatch, tmp_path / "home", SIGNING, signatures=signing) as found:
        yield found


def build_and_validate(catalog: VendingCatalog) -> None:
    signing, settings = catalog.gateway.signatures, catalog.settings
    assert signing is not None
    before = signing.accepted.total()
    result = run(build_job(settings, "1m", HOUR), MASTER)
    assert result.exit_code == 0, result.log
    assert signing.accepted.total() > before
    found = validate(settings, settings.timeframe("1m"), HOUR)
    assert (found.failures, found.candles) == ([], len(TRADES)), format_result(found)
    catalog.assert_exact()
    assert not catalog.gateway.rejected
    assert not catalog.store.refused


def test_both_clients_sign_with_the_keys_of_aws_and_get_vended_keys(catalog: VendingCatalog) -> None:
    # All keys are renewed by signed requests.
    catalog.store.vendor.lifetime = 240.0
    build_and_validate(catalog)
    assert catalog.gateway.renewals > 0


def test_both_clients_sign_with_the_keys_of_the_catalog(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = servers.expiring_store
    signing = signatures(store.access_key, store.secret_key)
    properties = {
        **SIGNING,
        "client.access-key-id": store.access_key,
        "client.secret-access-key": store.secret_key,
        "s3.endpoint": store.endpoint,
        "s3.region": REGION,
    }
    with vending_catalog(servers, monkeypatch, tmp_path / "home", properties, signatures=signing) as found:
        build_and_validate(found)
        assert not store.used


def test_a_wrong_secret_is_reported_in_one_line(catalog: VendingCatalog, tmp_path: Path) -> None:
    command_line = ColdCommandLine(tmp_path)
    command_line.environment |= {**catalog.environment, "AWS_SECRET_ACCESS_KEY": "wrong-secret"}
    expected = (
        f"the catalog {catalog.gateway.address} denies access (ForbiddenException: {MISMATCH}): "
        "check the credentials of AWS (AWS_ACCESS_KEY_ID, AWS_PROFILE or the role of the machine)"
    )
    for command in ("candles", "build"):
        message = command_line.fail(1, command, *SPAN)
        assert message == expected
    # The keys of Spark alone.
    result = run(build_job(catalog.settings, "1m", HOUR), MASTER, {"AWS_SECRET_ACCESS_KEY": "wrong-secret"})
    assert result.exit_code == 1
    assert result.log.splitlines()[-1] == f"error: {expected.replace('ForbiddenException', 'Forbidden')}"
