"""Addresses of SQL catalogs: a SQLite file or a PostgreSQL database."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from ohlcv.config.values import absolute_path, local_path
from ohlcv.model.errors import InputError

# Options of libpq that an address may override: a connection whose other side is gone ends within a minute.
CONNECTION_OPTIONS = {
    "connect_timeout": "30",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
# Options of a PostgreSQL connection that are secrets. `passfile` and `sslkey` name files.
_CREDENTIAL_OPTION = re.compile(r"(?i)password|passwd|pwd|secret|token")


@dataclass(frozen=True)
class PostgresqlAddress:
    """Address of a PostgreSQL database."""

    host: str
    database: str
    user: str
    port: int = 5432
    options: tuple[tuple[str, str], ...] = ()
    password: str | None = dataclasses.field(default=None, repr=False)

    def __str__(self) -> str:
        return f"postgresql://{self.user}@{self.host}:{self.port}/{self.database}"

    @property
    def for_sqlalchemy(self) -> str:
        """Return the address for SQLAlchemy, with the password."""
        # The driver is explicit, because the default of SQLAlchemy for postgresql:// depends on its version.
        login = quote(self.user, safe="") + (f":{quote(self.password, safe='')}" if self.password else "")
        return f"postgresql+psycopg://{login}@{self._place({**CONNECTION_OPTIONS, **dict(self.options)})}"

    @property
    def for_jdbc(self) -> str:
        """Return the address for Java, without user and password."""
        return f"jdbc:postgresql://{self._place(dict(self.options))}"

    def _place(self, options: Mapping[str, str]) -> str:
        query = f"?{urlencode(options)}" if options else ""
        return f"{self.host}:{self.port}/{quote(self.database)}{query}"


def postgresql_address(name: str, text: str, password: str | None, *, with_password: bool) -> PostgresqlAddress:
    """Return the parsed address. `with_password` accepts a password in it, as in pyiceberg's configuration."""
    form = "postgresql://user@host:5432/database"
    try:
        parts: SplitResult = urlsplit(text)
        port = parts.port or 5432
    except ValueError:
        raise InputError(f"{name} is not an address such as {form}") from None
    options = tuple(parse_qsl(parts.query))
    if any(_CREDENTIAL_OPTION.search(key) for key, _ in options) or (parts.password is not None and not with_password):
        remedy = "put it after the user" if with_password else "set OHLCV_CATALOG_PASSWORD or …_FILE instead"
        raise InputError(f"{name} contains a password{' in an option' if with_password else ''}: {remedy}")
    if not parts.hostname or not parts.username or len(parts.path) < 2 or parts.fragment:
        raise InputError(f"{name} must name user, host and database: {form}")
    return PostgresqlAddress(
        host=parts.hostname,
        database=unquote(parts.path[1:]),
        user=unquote(parts.username),
        port=port,
        options=options,
        password=unquote(parts.password) if parts.password else password,
    )


def sqlite_path(name: str, text: str) -> str:
    """Return the absolute path of the file of a SQLite catalog."""
    form = (
        "use sqlite:////folder/catalog.db with four slashes, or three before a path relative to the working directory"
    )
    parts = urlsplit(text)
    if len(parts.path) < 2:
        raise InputError(f"{name} contains no file path: {form}")
    if parts.netloc or parts.query or parts.fragment:
        # Not repeated: it may be a user and a password.
        raise InputError(f"{name} has a host, a query or a fragment, and SQLite uses none: {form}")
    if parts.path == "/:memory:":
        raise InputError(f"{name} is a database in memory, which no other process sees: {form}")
    return local_path(name, absolute_path(name, unquote(parts.path[1:])))
