"""REST catalog whose tables are in a store that refuses expired keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from pyiceberg.table import Table

from catalogs.kinds import Servers, configuration
from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.model.intervals import Range, to_microseconds
from support.catalog_servers.expiring_store import ExpiringStore
from support.catalog_servers.gateway import Gateway, rest_gateway
from support.catalog_servers.issuer import Issuer
from support.catalog_servers.signatures import Signatures
from support.harness import append, at, read_stored_candles, trade
from support.processes import QUICK_JAVA
from support.reference_model import reference_candles

NOON = at("2026-03-31 12:00")
HOUR = Range(NOON - timedelta(hours=1), NOON)
# Arguments of a command for this hour.
SPAN = ("--timeframe", "1m", "--start", "2026-03-31T11:00Z", "--end", "2026-03-31T12:00Z")
TRADES = [trade(HOUR.start + timedelta(minutes=n), f"{100 + n % 7}") for n in range(60)]


@dataclass(frozen=True)
class VendingCatalog:
    """A catalog with one hour of trades, and its settings."""

    store: ExpiringStore
    gateway: Gateway
    environment: dict[str, str]

    @property
    def settings(self) -> Settings:
        return load_settings(self.environment)

    def table(self, timeframe: str | None = None) -> Table:
        """Return the candle table of a timeframe, by default the trades table."""
        settings = self.settings
        contract = settings.candles_contract(settings.timeframe(timeframe)) if timeframe else settings.trades_contract
        return load_table(open_catalog(settings), contract)

    def assert_exact(self) -> None:
        """Compare the stored candles with the reference."""
        stored = {key: each.candle for key, each in read_stored_candles(self.table("1m")).items()}
        span = (to_microseconds(HOUR.start), to_microseconds(HOUR.end))
        assert stored == reference_candles(TRADES, 60_000_000, [span]).candles


@contextmanager
def vending_catalog(
    servers: Servers,
    monkeypatch: pytest.MonkeyPatch,
    home: Path,
    properties: Mapping[str, str],
    *,
    issuer: Issuer | None = None,
    signatures: Signatures | None = None,
) -> Iterator[VendingCatalog]:
    """Yield a catalog behind a gateway of its own. The environment of this process has its settings."""
    store, rest = servers.expiring_store, servers.vending_rest
    rest.clear()
    store.reset()
    with rest_gateway(rest.address, issuer=issuer, vendor=store.vendor, signatures=signatures) as gateway:
        address = {"type": "rest", "uri": gateway.address}
        environment = {"OHLCV_HOME": str(home), **configuration({**address, **properties})}
        for name, value in (QUICK_JAVA, *environment.items()):
            monkeypatch.setenv(name, value)
        found = VendingCatalog(store, gateway, environment)
        create_tables(found.settings)
        append(found.table(), TRADES)
        store.vendor.expire_all()
        store.used.clear()
        yield found
