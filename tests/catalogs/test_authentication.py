"""Tokens of an OIDC issuer: they expire during a job, cannot be renewed, are refused, or permit reading only."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from catalogs.conftest import CatalogUnderTest
from catalogs.kinds import NAME
from ohlcv.iceberg.tables import open_catalog
from ohlcv.model.errors import OhlcvError
from spark_jobs.iceberg.candle_writer import CommitGuard
from support.catalog_servers.issuer import Issuer
from support.command_line import ColdCommandLine
from support.harness import at, trade
from support.processes import wait_for

pytestmark = [
    pytest.mark.catalogs,
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
]

NOON = at("2026-03-31 12:00")
HOUR = timedelta(hours=1)
TRADES = [trade(NOON - HOUR + timedelta(minutes=n), f"{100 + n % 7}") for n in range(60)]
CREDENTIAL = f"PYICEBERG_CATALOG__{NAME.upper()}__CREDENTIAL"
# Seconds until a token expires. Clients renew it after nine tenths of this time.
LIFETIME = 10.0
with_tokens = pytest.mark.parametrize("catalog", ["nessie and s3", "rest and s3"], indirect=True)
behind_a_gateway = pytest.mark.parametrize("catalog", ["rest and s3"], indirect=True)


@pytest.fixture
def issuer(catalog: CatalogUnderTest) -> Iterator[Issuer]:
    issuer = catalog.servers.issuer
    yield issuer
    issuer.lifetime = 3600.0


def wait_before_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a job wait right before its commit until all tokens that it has then have expired."""
    for_table = CommitGuard.for_table

    def waiting(*arguments: Any, **options: Any) -> CommitGuard:
        def assert_lock_held() -> None:
            end = time.time() + LIFETIME + 1
            wait_for(lambda: time.time() > end, "the end of the tokens")

        return replace(for_table(*arguments, **options), assert_lock_held=assert_lock_held)

    monkeypatch.setattr(CommitGuard, "for_table", waiting)


@with_tokens
def test_a_job_outlives_its_token(catalog: CatalogUnderTest, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog.harness.load(TRADES)
    issuer.lifetime = LIFETIME
    # New clients, whose first tokens expire soon.
    harness = catalog.harness
    harness.trades = TRADES
    wait_before_commit(monkeypatch)
    begun = len(issuer.issued)
    assert harness.build("1m", NOON - HOUR, NOON)["candles"]["inserted"] == 60
    assert len(issuer.issued) > begun + 1
    assert harness.candles("1m") == harness.expected("1m", (NOON - HOUR, NOON)).candles
    catalog.observations.append(f"{len(issuer.issued) - begun} tokens")


@with_tokens
def test_pyiceberg_renews_an_expired_token(catalog: CatalogUnderTest, issuer: Issuer) -> None:
    catalog.harness.load(TRADES)
    issuer.lifetime = 2.0
    service = open_catalog(catalog.harness.settings)
    for _ in range(2):
        end = time.time() + 3
        wait_for(lambda end=end: time.time() > end, "the end of the token")  # type: ignore[misc]
        table = service.load_table(catalog.harness.settings.trades_contract.identifier)
        assert table.scan().to_arrow().num_rows == 60


@with_tokens
def test_a_token_that_cannot_be_renewed_ends_the_job_with_one_line(
    catalog: CatalogUnderTest, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.harness.load(TRADES)
    client = catalog.environment[CREDENTIAL].partition(":")[0]
    issuer.lifetime = LIFETIME
    harness = catalog.harness
    before = harness.snapshots("1m")
    wait_before_commit(monkeypatch)
    harness.spark.table(f"{NAME}.market_data.gold_ohlcv_1m").collect()
    secret = issuer.clients.pop(client)
    # The audit asks the catalog first, with a login of its own.
    with pytest.raises(OhlcvError) as raised:
        harness.build("1m", NOON - HOUR, NOON)
    reason = "invalid_client: unknown client or wrong secret"
    assert str(raised.value) == (
        f"the catalog {harness.settings.catalog} denies access ({reason}): check 'credential' of the catalog {NAME}"
    )
    issuer.clients[client] = secret
    issuer.lifetime = 3600.0
    assert catalog.harness.snapshots("1m") == before


@with_tokens
def test_a_refused_credential_is_reported_before_a_job_starts(
    catalog: CatalogUnderTest, issuer: Issuer, tmp_path: Path
) -> None:
    command_line = ColdCommandLine(tmp_path)
    command_line.environment |= catalog.environment
    span = ("--timeframe", "1m", "--start", "2026-03-31T11:00Z", "--end", "2026-03-31T12:00Z")
    wrong = {CREDENTIAL: f"{catalog.environment[CREDENTIAL].partition(':')[0]}:wrong-secret"}
    for command in (("tables", "create"), ("candles", *span), ("build", *span)):
        message = command_line.fail(1, *command, **wrong)
        assert message.startswith(f"the catalog {catalog.harness.settings.catalog} denies access (")
        assert message.endswith(f"): check 'credential' of the catalog {NAME}")
        assert "wrong-secret" not in message
    print(message)


@behind_a_gateway
def test_a_catalog_that_permits_listing_but_not_writing_is_reported(
    catalog: CatalogUnderTest, issuer: Issuer, tmp_path: Path
) -> None:
    catalog.harness.load(TRADES)
    reader = issuer.new_client("reader")
    catalog.servers.rest_gateway.read_only.add(reader.partition(":")[0])
    command_line = ColdCommandLine(tmp_path)
    command_line.environment |= {**catalog.environment, CREDENTIAL: reader}
    span = ("--timeframe", "1m", "--start", "2026-03-31T11:00Z", "--end", "2026-03-31T12:00Z")
    # Reading works.
    command_line.succeed("candles", *span)
    message = command_line.fail(1, "build", *span)
    print(message)
    assert "the client may not use POST" in message
    assert message.endswith(f": check 'credential' of the catalog {NAME}")
    assert catalog.harness.candles("1m") == {}


@behind_a_gateway
def test_a_private_authority_is_trusted_by_both_clients(catalog: CatalogUnderTest, tmp_path: Path) -> None:
    servers = catalog.servers
    prefix = CREDENTIAL.removesuffix("CREDENTIAL")
    command_line = ColdCommandLine(tmp_path)
    command_line.environment |= {**catalog.environment, f"{prefix}URI": servers.tls_gateway.address}
    assert "certificate" in command_line.fail(1, "tables", "create")
    command_line.environment[f"{prefix}SSL__CABUNDLE"] = str(servers.authority.ca_file)
    command_line.succeed("tables", "create")
    command_line.succeed("trades", "sample", "--trades", "500", "--hours", "1", "--end", "2026-03-31T12:00:00Z")
    span = ("--timeframe", "1m", "--start", "2026-03-31T11:00Z", "--end", "2026-03-31T12:00Z")
    command_line.succeed("build", *span)
    command_line.succeed("validate", *span)
    assert servers.tls_gateway.clients.total() > 0
