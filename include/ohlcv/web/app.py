"""ASGI application of the candle service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.types import ASGIApp

from ohlcv.web import ccxt, klines, routes_candles, routes_catalog, routes_coverage, routes_ledger, routes_pages, udf
from ohlcv.web.access import Access, Cors
from ohlcv.web.documents import error_responses
from ohlcv.web.parameters import check_parameter_names
from ohlcv.web.problems import add_problem_handlers
from ohlcv.web.service import Service

TITLE = "OHLCV candles"
DESCRIPTION = """Read-only access to candles and to the state of their pipeline.

Every path except `/health` needs the header `Authorization: Bearer TOKEN`. Times are ISO 8601 in UTC, decimals are
strings with all digits. Errors are `application/problem+json`. Candles change when late trades arrive: answers have an
`ETag`; send it as `If-None-Match`, and ask for changes with `updated_since` or at `/api/v1/revisions`.
"""


def create_app(service: Service) -> ASGIApp:
    """Return the application with access control around all its routes."""
    api = service.settings.api
    application: ASGIApp = Access(create_routes(service), api, service.settings.enabled)
    return Cors(application, api.origins) if api.origins else application


def create_routes(service: Service) -> FastAPI:
    """Return the application without access control."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.data.start()
        yield
        service.close()

    app = FastAPI(
        title=TITLE,
        description=DESCRIPTION,
        version=version("ohlcv"),
        lifespan=lifespan,
        dependencies=[Depends(check_parameter_names)],
        responses=error_responses(),
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.service = service
    for module in (routes_candles, routes_ledger, routes_coverage, routes_catalog, udf, ccxt, klines, routes_pages):
        app.include_router(module.router)
    add_problem_handlers(app)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        # Relative to the address of this document, which has a prefix in Airflow.
        document["servers"] = [{"url": "."}]
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
        for operations in document["paths"].values():
            operations["get"]["responses"].pop("422", None)
        app.openapi_schema = document
    return app.openapi_schema
