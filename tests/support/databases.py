"""Catalog databases on a PostgreSQL server, one empty database for each test."""

from __future__ import annotations

import secrets

from ohlcv.demo.local_postgres import PostgresServer


def new_database(server: PostgresServer) -> str:
    """Create an empty database and return its name."""
    name = f"catalog_{secrets.token_hex(4)}"
    server.execute(f"CREATE DATABASE {name}")
    return name


def catalog_environment(server: PostgresServer, database: str, port: int | None = None) -> dict[str, str]:
    """Return the settings of a catalog in a database. The port can be that of a proxy."""
    return {
        "OHLCV_CATALOG_URI": f"postgresql://{server.user}@{server.host}:{port or server.port}/{database}",
        "OHLCV_CATALOG_PASSWORD": server.password,
    }
