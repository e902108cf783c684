"""REST catalog of pyiceberg with limits for the time and the size of a response."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError
from pyiceberg.catalog import TOKEN
from pyiceberg.catalog.rest import CA_BUNDLE, CREDENTIAL, SSL, RestCatalog, TableResponse
from pyiceberg.catalog.rest.auth import AuthManager, NoopAuthManager
from pyiceberg.exceptions import RESTError
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.table import Table
from pyiceberg.typedef import Identifier, Properties
from requests import ConnectionError as RequestsConnectionError
from requests import PreparedRequest, Response, Session
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3.exceptions import HTTPError

from ohlcv.config.limited_reading import PART_BYTES, ResponseLimitError, read_limited
from ohlcv.iceberg.vended_keys import EXPIRY, RenewedFileSystems

CONNECT_SECONDS, READ_SECONDS = 10, 60
# The metadata of a table with many snapshots has some megabytes.
MAX_BYTES = 256 * 2**20


def _number_last_column(request: PreparedRequest) -> None:
    """Add the number of the last column to a new schema. pyiceberg leaves it out, and Nessie 0.99 requires it."""
    if request.method != "POST" or b'"add-schema"' not in (body := _bytes(request.body)):
        return
    document = json.loads(body)
    for update in document.get("updates", ()):
        if update.get("action") == "add-schema":
            update.setdefault("last-column-id", max(field["id"] for field in update["schema"]["fields"]))
    request.prepare_body(json.dumps(document).encode(), None)


def _bytes(body: object) -> bytes:
    if isinstance(body, str):
        return body.encode()
    return body if isinstance(body, bytes) else b""


class LimitedAdapter(HTTPAdapter):
    """Transport that reads each response within the limits. requests waits for ever by default.

    A given authority takes precedence over the variable REQUESTS_CA_BUNDLE, unlike that of a session. A given signer is
    the adapter with which pyiceberg signs requests.
    """

    def __init__(self, authority: str | None = None, signer: BaseAdapter | None = None) -> None:
        self._authority = authority
        self._signer = signer
        super().__init__()

    def add_headers(self, request: PreparedRequest, **options: Any) -> None:
        """Add the signature."""
        if isinstance(self._signer, HTTPAdapter):
            self._signer.add_headers(request, **options)

    def send(self, request: PreparedRequest, *arguments: Any, **options: Any) -> Response:
        """Send a request and return its complete response."""
        _number_last_column(request)
        options["timeout"] = options.get("timeout") or (CONNECT_SECONDS, READ_SECONDS)
        options["verify"] = self._authority or options.get("verify", True)
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


def _with_limits(session: Session, authority: str | None) -> Session:
    for scheme in ("http://", "https://"):
        session.mount(scheme, LimitedAdapter(authority))
    return session


class LimitedRestCatalog(RestCatalog):
    """REST catalog that uses `LimitedAdapter` and raises `RestProtocolError`."""

    def __init__(self, name: str, **properties: str) -> None:
        with _protocol_errors():
            super().__init__(name, **properties)

    def _create_session(self) -> Session:
        session = _with_limits(super()._create_session(), self._authority)
        if signer := session.adapters.get(self.uri):
            session.mount(self.uri, LimitedAdapter(self._authority, signer))
        return session

    @property
    def _authority(self) -> str | None:
        """Return the file with the certificate of the authority that the properties name."""
        return (self.properties.get(SSL) or {}).get(CA_BUNDLE)

    def _create_legacy_oauth2_auth_manager(self, session: Session) -> AuthManager:  # noqa: ARG002
        """Return the source of tokens. It has a session of its own, so that the issuer gets no header of the catalog.

        pyiceberg would send the expired token, with which some issuers refuse the request for a new one.
        """
        if CREDENTIAL not in self.properties and TOKEN not in self.properties:
            return NoopAuthManager()  # pyiceberg would send the token "None"
        own = _with_limits(Session(), self._authority)
        manager: AuthManager = super()._create_legacy_oauth2_auth_manager(own)
        return manager

    def _response_to_table(self, identifier_tuple: tuple[str, ...], table_response: TableResponse) -> Table:
        def load_properties() -> Properties:
            return self.load_table(identifier_tuple).io.properties

        table: Table = super()._response_to_table(identifier_tuple, table_response)
        if isinstance(table.io, PyArrowFileIO) and EXPIRY in table.io.properties:
            table.io.fs_by_scheme = RenewedFileSystems(table.io.properties, load_properties)
        return table

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
