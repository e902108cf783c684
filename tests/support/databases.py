"""Catalogs for tests that break things: an empty database each, straight or through the proxy."""

from __future__ import annotations

import secrets

from support.servers import LOCALHOST, PostgresServer


def new_database(server: PostgresServer) -> str:
    """Create an empty database and give its name."""
    name = f"catalog_{secrets.token_hex(4)}"
    server.execute(f"CREATE DATABASE {name}")
    return name


def catalog_environment(server: PostgresServer, database: str, port: int | None = None) -> dict[str, str]:
    """Give the settings of a catalog in a database; the port may be a proxy's."""
    return {
        "OHLCV_CATALOG_URI": f"postgresql://{server.user}@{LOCALHOST}:{port or server.port}/{database}",
        "OHLCV_CATALOG_PASSWORD": server.password,
    }
