"""Requests to a REST catalog that change a schema."""

from __future__ import annotations

import json

import pytest
from requests import PreparedRequest, Request
from requests.adapters import HTTPAdapter

from ohlcv.iceberg.rest_catalog import LimitedAdapter, _number_last_column


@pytest.mark.parametrize("as_text", [True, False])
def test_a_new_schema_has_the_number_of_its_last_column(as_text: bool) -> None:
    schema = {"type": "struct", "fields": [{"id": 1}, {"id": 15}]}
    updates: list[dict[str, object]] = [
        {"action": "add-schema", "schema": schema},
        {"action": "set-current-schema", "schema-id": -1},
    ]
    body = json.dumps({"updates": updates})
    request = Request("POST", "http://127.0.0.1/tables/t", data=body if as_text else body.encode()).prepare()
    _number_last_column(request)
    assert isinstance(request.body, bytes)
    assert json.loads(request.body)["updates"] == [{**updates[0], "last-column-id": 15}, updates[1]]
    assert request.headers["Content-Length"] == str(len(request.body))


@pytest.mark.parametrize("body", ['{"updates": []}', None])
def test_other_requests_are_unchanged(body: str | None) -> None:
    request = Request("POST", "http://127.0.0.1/tables/t", data=body).prepare()
    _number_last_column(request)
    assert request.body == body


def test_the_adapter_sends_the_number_of_the_last_column(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []

    def send(self: HTTPAdapter, request: PreparedRequest, **options: object) -> None:
        assert isinstance(request.body, bytes)
        sent.append(request.body)
        raise ConnectionError

    monkeypatch.setattr(HTTPAdapter, "send", send)
    body = json.dumps({"updates": [{"action": "add-schema", "schema": {"fields": [{"id": 7}]}}]})
    with pytest.raises(ConnectionError):
        LimitedAdapter().send(Request("POST", "http://127.0.0.1/tables/t", data=body).prepare())
    assert b'"last-column-id": 7' in sent[0]
