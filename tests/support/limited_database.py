"""PostgreSQL catalog whose user has only some rights on its tables."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from ohlcv.config.settings import load_settings
from ohlcv.demo.local_postgres import PostgresServer
from ohlcv.iceberg.tables import create_tables
from support.databases import catalog_environment, new_database

USER, PASSWORD = "limited", "few-rights"


class LimitedDatabase:
    """A database with the project's tables, and a user with the given rights on the catalog's own tables."""

    def __init__(self, server: PostgresServer, environment: Mapping[str, str], rights: str) -> None:
        self._server, self._database = server, new_database(server)
        # Settings of the owner, who has all rights.
        self.owner = load_settings({**environment, **catalog_environment(server, self._database)})
        create_tables(self.owner)
        uri = f"postgresql://{USER}@{server.host}:{server.port}/{self._database}"
        # Settings of the user.
        self.environment = {**environment, "OHLCV_CATALOG_URI": uri, "OHLCV_CATALOG_PASSWORD": PASSWORD}
        self._rights = rights

    def __enter__(self) -> LimitedDatabase:
        self._execute(
            f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'",
            f"GRANT {self._rights} ON ALL TABLES IN SCHEMA public TO {USER}",
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._execute(f"DROP OWNED BY {USER}", f"DROP ROLE {USER}")

    def _execute(self, *statements: str) -> None:
        with self._server.connect(dbname=self._database) as connection:
            for statement in statements:
                connection.execute(statement.encode())
