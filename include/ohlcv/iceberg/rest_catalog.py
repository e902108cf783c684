"""REST catalog of pyiceberg with limits for the time and the size of a response."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import RESTError
from pyiceberg.table import Table
from pyiceberg.typedef import Identifier
from requests import ConnectionError as RequestsConnectionError
from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from ohlcv.config.limited_reading import PART_BYTES, ResponseLimitError, read_limited

CONNECT_SECONDS, READ_SECONDS = 10, 60
# The metadata of a table with many snapshots has some megabytes.
MAX_BYTES = 256 * 2**20


class LimitedAdapter(HTTPAdapter):
    """Transport that reads each response within the limits. requests waits for ever by default."""

    def send(self, request: PreparedRequest, *arguments: Any, **options: Any) -> Response:
        """Send a request and return its complete response."""
        options["timeout"] = options.get("timeout") or (CONNECT_SECONDS, READ_SECONDS)
        response = super().send(request, *arguments, **options)
        try:
            raw = response.raw
            body = read_limited(lambda: raw.read1(PART_BYTES, decode_content=True), READ_SECONDS, MAX_BYTES)
            response.raw = io.BytesIO(body)
        except ResponseLimitError as error:
            raise RequestsConnectionError(str(error)) from None
        except (HTTPError, OSError) as error:
            raise RequestsConnectionError(f"the response is incomplete: {type(error).__name__}") from None
        return response


class RestProtocolError(RESTError):
    """A service answers with something else than a REST catalog."""


@contextlib.contextmanager
def _protocol_errors() -> Iterator[None]:
    try:
        yield
    # pyiceberg raises the second one for the status 501.
    except (ValidationError, NotImplementedError) as error:
        raise RestProtocolError(f"{type(error).__name__} while reading a response") from error


class LimitedRestCatalog(RestCatalog):
    """REST catalog that uses `LimitedAdapter` and raises `RestProtocolError`."""

    def __init__(self, name: str, **properties: str) -> None:
        with _protocol_errors():
            super().__init__(name, **properties)

    def _create_session(self) -> Session:
        session = super()._create_session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, LimitedAdapter())
        return session

    def load_table(self, identifier: str | Identifier) -> Table:
        """Load a table."""
        with _protocol_errors():
            table: Table = super().load_table(identifier)
            return table

    def list_tables(self, namespace: str | Identifier, *arguments: Any, **options: Any) -> list[Identifier]:
        """List the tables of a namespace."""
        with _protocol_errors():
            tables: list[Identifier] = super().list_tables(namespace, *arguments, **options)
            return tables

    def create_table(self, *arguments: Any, **options: Any) -> Table:
        """Create a table."""
        with _protocol_errors():
            table: Table = super().create_table(*arguments, **options)
            return table
