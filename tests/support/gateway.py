"""Requests to the gateway in the event loop of a test, mounted as in Airflow's API server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.routing import Mount

from ohlcv.orchestration.candle_gateway import create_gateway
from ohlcv.orchestration.candle_service import CandleService

LOGIN = {"Authorization": "Bearer good"}


class EventLoop:
    """The event loop of a test: connections and pending queries belong to it, as in the API server."""

    runner: asyncio.Runner
    # Closed at the end of the test.
    services: list[CandleService]


def mounted(create: Callable[[], CandleService]) -> Starlette:
    """Return an application that mounts the gateway as Airflow does."""

    def create_service() -> CandleService:
        EventLoop.services.append(service := create())
        return service

    return Starlette(routes=[Mount("/ohlcv", create_gateway(create_service))])


def client_of(app: Starlette) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://airflow")


def request(app: Starlette, path: str, method: str = "GET", **options: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        async with client_of(app) as client:
            return await client.request(method, path, headers=LOGIN | options.pop("headers", {}), **options)

    return EventLoop.runner.run(send())


def detail(response: httpx.Response) -> str:
    """Return the one line of an error response."""
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == response.status_code
    assert "\n" not in body["detail"]
    return str(body["detail"])
