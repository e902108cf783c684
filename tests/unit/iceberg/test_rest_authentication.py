"""Authentication of pyiceberg's REST client: tokens, their renewal, headers and a private certificate authority."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from pyiceberg.catalog.rest import RestCatalog

from ohlcv.config.settings import load_settings
from ohlcv.iceberg.tables import open_catalog
from ohlcv.model.errors import OhlcvError
from ohlcv.spark.processes import HOST
from support.catalog_servers.certificates import private_authority
from support.server_thread import running


@dataclass
class Service:
    """A REST catalog without tables that issues tokens itself. Only the newest token is valid."""

    address: str = ""
    token: str = "first"
    # Headers of each request, by path, and the form of each request for a token.
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    forms: list[dict[str, list[str]]] = field(default_factory=list)
    refuses: bool = False

    def headers_of(self, path: str) -> dict[str, str]:
        """Return the headers of the newest request of a path, with lower-case names."""
        return [headers for found, headers in self.requests if found.endswith(path)][-1]


@contextmanager
def service(tls: ssl.SSLContext | None = None) -> Iterator[Service]:
    state = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._record()
            authorization = self.headers.get("Authorization") or ""
            if authorization.startswith("Bearer ") and authorization != f"Bearer {state.token}":
                self._send(401, {"error": {"message": "expired", "type": "NotAuthorizedException", "code": 401}})
            elif self.path.startswith("/v1/config"):
                self._send(200, {"defaults": {}, "overrides": {}})
            else:
                self._send(200, {"identifiers": []})

        def do_POST(self) -> None:
            self._record()
            state.forms.append(parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()))
            if state.refuses:
                self._send(401, {"error": "invalid_client", "error_description": "no secret hunter2 here"})
            else:
                self._send(200, {"access_token": state.token, "token_type": "Bearer"})

        def _record(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            state.requests.append((self.path.partition("?")[0], headers))

        def _send(self, status: int, document: object) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer((HOST, 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with running(server) as address:
        state.address = address.replace("http:", "https:") if tls is not None else address
        yield state


CREDENTIAL = "loader:hunter2"


def test_a_credential_is_exchanged_for_a_token_which_is_renewed_after_it_has_expired() -> None:
    with service() as state:
        issuer = {"OHLCV_CATALOG_OAUTH2_URI": f"{state.address}/token", "OHLCV_CATALOG_SCOPE": "catalog sign"}
        settings = {"OHLCV_CATALOG_URI": state.address, "OHLCV_CATALOG_CREDENTIAL": CREDENTIAL, **issuer}
        catalog = open_catalog(load_settings(settings))
        catalog.list_tables("x")
        assert state.headers_of("/tables")["authorization"] == "Bearer first"
        asked = len(state.forms)
        state.token = "second"  # no password
        catalog.list_tables("x")
        assert state.headers_of("/tables")["authorization"] == "Bearer second"
        assert len(state.forms) == asked + 1
    assert state.forms[-1] == {
        "grant_type": ["client_credentials"],
        "client_id": ["loader"],
        "client_secret": ["hunter2"],
        "scope": ["catalog sign"],
    }


def test_the_issuer_gets_no_expired_token_and_no_header_of_the_catalog() -> None:
    with service() as state:
        catalog = {"URI": state.address, "CREDENTIAL": CREDENTIAL, "HEADER__X_TENANT": "acme"}
        environment = {f"PYICEBERG_CATALOG__LAKE__{name}": value for name, value in catalog.items()}
        opened = open_catalog(load_settings({"OHLCV_CATALOG": "lake", "HOME": "/nonexistent", **environment}))
        state.token = "second"  # no password
        opened.list_tables("x")
        assert state.headers_of("/tables")["x-tenant"] == "acme"
        for path, headers in state.requests:
            if path == "/v1/oauth/tokens":
                assert {"authorization", "x-tenant"}.isdisjoint(headers)
    assert len(state.forms) == 3  # for the configuration of the service, for the catalog, and after the expiry


def test_signed_requests_have_the_same_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    with service() as state:
        signing = {"REST__SIGV4_ENABLED": "true", "REST__SIGNING_NAME": "s3tables", "REST__SIGNING_REGION": "eu-west-1"}
        keys = {"CLIENT__ACCESS_KEY_ID": "signer", "CLIENT__SECRET_ACCESS_KEY": "hunter2"}
        properties = {"TYPE": "rest", "URI": state.address, **signing, **keys}
        environment = {f"PYICEBERG_CATALOG__LAKE__{name}": value for name, value in properties.items()}
        settings = load_settings({"OHLCV_CATALOG": "lake", "HOME": "/nonexistent", **environment})
        open_catalog(settings).list_tables("x")
        signature = state.headers_of("/tables")["authorization"]
        assert re.match("AWS4-HMAC-SHA256 Credential=signer/[0-9]{8}/eu-west-1/s3tables/aws4_request", signature)
        monkeypatch.setattr("ohlcv.iceberg.rest_catalog.MAX_BYTES", 1)
        with pytest.raises(OhlcvError, match="the response is larger than"):
            open_catalog(settings)


def test_without_a_token_none_is_sent() -> None:
    with service() as state:
        open_catalog(load_settings({"OHLCV_CATALOG_URI": state.address})).list_tables("x")
        assert "authorization" not in state.headers_of("/tables")
        assert state.headers_of("/tables")["x-iceberg-access-delegation"] == "vended-credentials"


def test_refused_credentials_are_reported_without_the_secret() -> None:
    with service() as state:
        state.refuses = True
        settings = load_settings({"OHLCV_CATALOG_URI": state.address, "OHLCV_CATALOG_CREDENTIAL": CREDENTIAL})
        with pytest.raises(OhlcvError) as caught:
            open_catalog(settings)
    assert str(caught.value) == (
        f"the catalog {state.address} denies access (invalid_client: no secret … here): check OHLCV_CATALOG_CREDENTIAL"
    )


def test_a_private_authority_is_trusted_if_it_is_set(tmp_path: Path) -> None:
    authority = private_authority(tmp_path)
    with service(authority.server) as state:
        address = {"OHLCV_CATALOG_URI": state.address}
        catalog = open_catalog(load_settings({**address, "OHLCV_CATALOG_CA_FILE": str(authority.ca_file)}))
        assert isinstance(catalog, RestCatalog)
        assert catalog.list_tables("x") == []
        with pytest.raises(OhlcvError, match=r"certificate verify failed.*: check OHLCV_CATALOG_URI$"):
            open_catalog(load_settings(address))
