"""Lost replies of catalogs without a write lock: after a successful commit no data is lost, no row is stored twice.

On a database catalog Iceberg's serializable check then deletes live files (tests/crash_recovery/test_lost_reply.py),
so it is used with other catalogs only.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from catalogs.conftest import CatalogUnderTest
from catalogs.kinds import KINDS
from support.harness import at, trade

pytestmark = [
    pytest.mark.catalogs,
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
]

NOON = at("2026-03-31 12:00")
HOUR = timedelta(hours=1)
WITHOUT_LOCK = [kind for kind, (_, features) in KINDS.items() if not features.has_lock]


def build_with_lost_reply(catalog: CatalogUnderTest, lose_reply: Callable[[str], None]) -> None:
    """Lose the reply to the commit of a build, and check what the build and its rerun stored."""
    harness = catalog.harness
    harness.load(trade(NOON - 2 * HOUR + timedelta(minutes=n), f"{100 + n % 7}") for n in range(120))
    harness.build("1m", NOON - 2 * HOUR, NOON - HOUR)
    # An update of a day with candles: if Iceberg takes this commit for failed, it deletes the new files.
    lost = catalog.empty.lost()
    lose_reply("gold_ohlcv_1m")
    report = harness.build("1m", NOON - 2 * HOUR, NOON)
    assert catalog.empty.lost() == lost + 1
    assert harness.candles("1m") == harness.expected("1m", (NOON - 2 * HOUR, NOON)).candles
    assert report["snapshot"] == harness.snapshots("1m")[-1]
    assert report["candles"]["inserted"] == 60
    # The rerun finds nothing to change.
    assert harness.build("1m", NOON - 2 * HOUR, NOON)["snapshot"] is None
    catalog.observations.append("stored once")


@pytest.mark.parametrize("catalog", WITHOUT_LOCK, indirect=True)
def test_after_a_lost_reply_each_candle_is_stored_once(catalog: CatalogUnderTest) -> None:
    assert catalog.empty.lose_reply is not None
    build_with_lost_reply(catalog, catalog.empty.lose_reply)


@pytest.mark.parametrize("status", [502, 503, 504])
@pytest.mark.parametrize("catalog", ["nessie and s3", "rest and s3"], indirect=True)
def test_after_an_error_of_a_proxy_each_candle_is_stored_once(catalog: CatalogUnderTest, status: int) -> None:
    servers = catalog.servers
    gateway = servers.nessie_gateway if catalog.kind.startswith("nessie") else servers.rest_gateway
    build_with_lost_reply(catalog, lambda table: gateway.drop_next(f"/{table}", status))
