"""Gateway and issuer of the catalog tests: tokens, permissions, lost responses, TLS with a private authority."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from support.catalog_servers.certificates import private_authority
from support.catalog_servers.gateway import Gateway, rest_gateway
from support.catalog_servers.issuer import Issuer, oidc_issuer
from support.json_server import json_server

ANSWER: dict[str, list[str]] = {"tables": []}


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with oidc_issuer() as found:
        yield found


@pytest.fixture
def gateway(issuer: Issuer) -> Iterator[Gateway]:
    with (
        json_server({"/v1/tables": ANSWER, "/v1/table": ANSWER}) as backend,
        rest_gateway(backend, issuer=issuer) as found,
    ):
        yield found


def token_answer(issuer: Issuer, credential: str, grant: str = "client_credentials") -> tuple[int, str]:
    """Ask for a token. Return the status and the token or the error."""
    client, _, secret = credential.partition(":")
    form = {"grant_type": grant, "client_id": client, "client_secret": secret}
    try:
        with urllib.request.urlopen(issuer.token_address, urlencode(form).encode()) as response:
            return response.status, json.load(response)["access_token"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)["error"]


def status(gateway: Gateway, token: str, method: str = "GET", path: str = "/v1/tables") -> int:
    request = urllib.request.Request(gateway.address + path, None, {"Authorization": f"Bearer {token}"}, method=method)
    try:
        with urllib.request.urlopen(request) as response:
            assert json.load(response) == ANSWER
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_only_valid_tokens_are_accepted(gateway: Gateway, issuer: Issuer) -> None:
    credential = issuer.new_client()
    code, token = token_answer(issuer, credential)
    assert (code, status(gateway, token)) == (200, 200)
    assert status(gateway, f"{token}x") == 401
    issuer.lifetime = -1
    assert status(gateway, issuer.token("anybody")) == 401
    assert gateway.rejected["the token has expired"] == 1
    assert gateway.clients == {credential.partition(":")[0]: 1}


def test_the_issuer_refuses_unknown_clients_and_the_exchange_of_tokens(issuer: Issuer) -> None:
    credential = issuer.new_client()
    assert token_answer(issuer, f"{credential}x") == (401, "invalid_client")
    exchange = "urn:ietf:params:oauth:grant-type:token-exchange"
    assert token_answer(issuer, credential, exchange) == (400, "unsupported_grant_type")
    issuer.clients.clear()
    assert token_answer(issuer, credential) == (401, "invalid_client")


def test_a_client_can_be_limited_to_reading(gateway: Gateway, issuer: Issuer) -> None:
    gateway.read_only.add("reader")
    assert status(gateway, issuer.token("reader")) == 200
    assert status(gateway, issuer.token("reader"), "POST") == 403
    assert status(gateway, issuer.token("writer"), "POST") == 200


def test_one_response_to_a_commit_is_lost(gateway: Gateway, issuer: Issuer) -> None:
    token = issuer.token("writer")
    gateway.drop_next("/table", 503)
    assert status(gateway, token, path="/v1/table") == 200
    assert status(gateway, token, "POST", "/v1/tables") == 200
    assert [status(gateway, token, "POST", "/v1/table") for _ in range(2)] == [503, 200]
    assert gateway.dropped == [200]


def test_the_certificate_is_valid_only_for_those_who_trust_the_private_authority(tmp_path: Path) -> None:
    authority = private_authority(tmp_path)
    with json_server({"/v1/tables": ANSWER}) as backend, rest_gateway(backend, tls=authority.server) as gateway:
        address = f"{gateway.address}/v1/tables"
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            urllib.request.urlopen(address)
        trusting = ssl.create_default_context(cafile=str(authority.ca_file))
        with urllib.request.urlopen(address, context=trusting) as response:
            assert json.load(response) == ANSWER
