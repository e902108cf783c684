"""Access to the gateway: a login of Airflow, and read access to the DAG of at least one timeframe."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails
from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
from airflow.models.dag import DagModel
from fastapi import HTTPException
from fastapi.security import HTTPAuthorizationCredentials
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from ohlcv.config.settings import load_settings
from ohlcv.orchestration.problems import ProblemError, problem

log = logging.getLogger(__name__)

# Tokens and permissions are checked in Airflow's database, a check in the event loop. A logout or a change of
# permissions takes effect after this time.
CACHE_SECONDS = 5.0
CACHED_TOKENS = 1_000
DATABASE_SECONDS = 10.0
# Keys in the ASGI scope of an authorized request.
USER, TIMEFRAME_NAMES = "ohlcv.user", "ohlcv.timeframes"

# If the database is slow, requests of the page wait for each other here and leave Airflow's threads alone.
_database_threads = ThreadPoolExecutor(4, "ohlcv-gateway")
T = TypeVar("T")


def in_database_thread(function: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
    """Start a function that blocks on Airflow's database."""
    return asyncio.get_running_loop().run_in_executor(_database_threads, function, *arguments)


async def database_result(query: asyncio.Future[T]) -> T:
    """Return the result of a query. A request that is cancelled does not cancel it: others may wait for it too."""
    try:
        return await asyncio.wait_for(asyncio.shield(query), DATABASE_SECONDS)
    except (SQLAlchemyError, TimeoutError) as error:
        log.error("ohlcv: Airflow's database does not answer: %r", error)
        raise ProblemError(503, "Airflow's database does not answer: try again in a few seconds", 5) from None


def readable_dags(user: BaseUser, dag_ids: Iterable[str]) -> set[str]:
    """Return the DAGs that a user may read. Blocks on Airflow's database."""
    wanted = sorted(set(dag_ids))
    teams = DagModel.get_dag_id_to_team_name_mapping(wanted)
    manager = get_auth_manager()
    return {
        dag_id
        for dag_id in wanted
        if manager.is_authorized_dag(
            method="GET", user=user, details=DagDetails(id=dag_id, team_name=teams.get(dag_id))
        )
    }


@dataclass(frozen=True)
class Access:
    """A user, and the timeframes whose DAG the user may read."""

    user: BaseUser
    timeframes: list[str]


class AccessMiddleware:
    """Authorize every request before the application sees it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        # Running or finished authorization and its expiry, by token.
        self._cache: dict[str, tuple[float, asyncio.Task[Access]]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            access = await self._authorize(Request(scope, receive))
        except ProblemError as error:
            await error.response()(scope, receive, send)
        except HTTPException:  # of Airflow's authentication
            response = problem(401, "log in to Airflow, or send a valid token", {"WWW-Authenticate": "Bearer"})
            await response(scope, receive, send)
        else:
            await self._app({**scope, USER: access.user, TIMEFRAME_NAMES: access.timeframes}, receive, send)

    async def _authorize(self, request: Request) -> Access:
        """Return the access of a token: one authorization for all its requests within a few seconds."""
        credentials = await bearer_scheme(request)
        token = credentials.credentials if credentials else request.cookies.get(COOKIE_NAME_JWT_TOKEN, "")
        if not token:
            # The user comes from a middleware of the auth manager. Nothing distinguishes the requests.
            return await database_result(asyncio.create_task(_access(request, credentials)))
        now = time.monotonic()
        expiry, running = self._cache.get(token, (0.0, None))
        if running is None or expiry <= now or (running.done() and running.exception()):
            self._cache = {key: entry for key, entry in self._cache.items() if entry[0] > now}
            if len(self._cache) >= CACHED_TOKENS:
                self._cache.clear()
            running = asyncio.create_task(_access(request, credentials))
            self._cache[token] = (now + CACHE_SECONDS, running)
        return await database_result(running)


async def _access(request: Request, credentials: HTTPAuthorizationCredentials | None) -> Access:
    user = await get_user(request, None, credentials)
    enabled = load_settings().timeframes
    dag_ids = [timeframe.dag_id for timeframe in enabled.values()]
    readable = await in_database_thread(readable_dags, user, dag_ids)
    names = [name for name, timeframe in enabled.items() if timeframe.dag_id in readable]
    if not names:
        raise ProblemError(403, f"ask an administrator for read access to one of the DAGs {', '.join(dag_ids)}")
    return Access(user, names)
