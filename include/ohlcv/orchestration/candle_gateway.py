"""Gateway between Airflow's API server and the candle service.

It authorizes every request with Airflow and forwards it. It reads no table, so that the API server loads neither
pyiceberg nor DuckDB, and it never blocks, because Airflow's own pages share its event loop.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.models.variable import Variable
from airflow.utils.session import create_session
from sqlalchemy import select
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from ohlcv.config.settings import load_settings
from ohlcv.orchestration.candle_access import (
    USER,
    AccessMiddleware,
    database_result,
    in_database_thread,
    readable_dags,
)
from ohlcv.orchestration.candle_forwarding import Forwarding
from ohlcv.orchestration.candle_page import STATIC
from ohlcv.orchestration.candle_service import CandleService, candle_service
from ohlcv.orchestration.incidents import VARIABLE_PREFIX, Incident
from ohlcv.orchestration.problems import ProblemError, problem

_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
PAGE_HEADERS = {"Cache-Control": "private, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}


async def page_file(request: Request) -> Response:
    """Return a file of the page. Its name contains a hash of its content."""
    path = STATIC / request.path_params["file"]
    if not _FILE_NAME.fullmatch(path.name) or not await asyncio.to_thread(path.is_file):
        raise ProblemError(
            404, "there is no such file: restart Airflow's API server if the page was built again, then reload"
        )
    return FileResponse(path, headers=PAGE_HEADERS)


async def incidents(request: Request) -> Response:
    """Return the open incidents of the DAGs that the user may read."""
    found = await database_result(in_database_thread(_open_incidents, request.scope[USER]))
    return JSONResponse({"incidents": found}, headers={"Cache-Control": "private, no-cache"})


def _open_incidents(user: BaseUser) -> list[dict[str, object]]:
    with create_session() as session:
        rows = session.scalars(select(Variable).where(Variable.key.startswith(VARIABLE_PREFIX, autoescape=True)))
        texts = {row.key.removeprefix(VARIABLE_PREFIX): row.val for row in rows}
    readable = readable_dags(user, filter(None, map(_dag_of, texts)))
    return [
        {"key": key, "since": incident.since, "suppressed": incident.suppressed, "error": incident.error}
        for key, text in sorted(texts.items())
        if text and _dag_of(key) in {None, *readable}
        for incident in [Incident.from_json(text)]
    ]


def _dag_of(key: str) -> str | None:
    """Return the DAG of an incident. Those of the health checks have none."""
    name = key.partition(":")[0]
    return None if name == "health" else name


async def _respond(_: Request, error: Exception) -> Response:
    if isinstance(error, ProblemError):
        return error.response()
    if isinstance(error, HTTPException):  # of the routing
        detail = "use GET or HEAD: candles are read-only" if error.status_code == 405 else "see /ohlcv/docs"
        return problem(error.status_code, detail, dict(error.headers or {}))
    return problem(500, "the gateway has failed: see the log of the API server")


def create_gateway(create_service: Callable[[], CandleService] | None = None) -> Starlette:
    """Build the application."""
    forward = Forwarding(create_service or (lambda: candle_service(load_settings())))
    return Starlette(
        routes=[
            Route("/incidents", incidents),
            Route("/page/{file}", page_file),
            Route("/{path:path}", forward, methods=["GET"]),
        ],
        middleware=[Middleware(AccessMiddleware)],
        exception_handlers={ProblemError: _respond, HTTPException: _respond, Exception: _respond},
    )
