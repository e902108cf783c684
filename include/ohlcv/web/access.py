"""Access to the candle service: bearer tokens, timeframes of the gateway's user, rate limit per token."""

from __future__ import annotations

import hmac
import logging
import math
import time
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ohlcv.config.candle_api import ApiSettings
from ohlcv.model.errors import one_line
from ohlcv.web.problems import ProblemError, as_problem, bad_request, problem_response
from ohlcv.web.tokens import TokenFile, digest

LOG = logging.getLogger(__name__)
HEALTH_PATH = "/health"
TIMEFRAMES_HEADER = "X-Ohlcv-Timeframes"
# A client may send this many seconds' worth of requests at once.
BURST_SECONDS = 2
MAX_QUERY_BYTES = 8_192
EXPOSED_HEADERS = (
    "Content-Disposition",
    "ETag",
    "Retry-After",
    "X-Ohlcv-Committed-At",
    "X-Ohlcv-Snapshot",
)


class RateLimit:
    """Token bucket of each client."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._burst = float(BURST_SECONDS * per_second)
        # Digest of the token -> requests that it may send now, and the time of that number.
        self._buckets: dict[bytes, tuple[float, float]] = {}

    def wait_seconds(self, client: bytes) -> float:
        """Count a request. Return 0, or the seconds after which it would be accepted."""
        now = time.monotonic()
        level, since = self._buckets.get(client, (self._burst, now))
        level = min(self._burst, level + (now - since) * self._per_second)
        if level < 1:
            return (1 - level) / self._per_second
        self._buckets[client] = (level - 1, now)
        return 0.0


class Access:
    """ASGI middleware that admits requests with a valid token, and answers unexpected errors of the application."""

    def __init__(self, app: ASGIApp, settings: ApiSettings, enabled: tuple[str, ...]) -> None:
        self._app = app
        self._enabled = enabled
        self._gateway_digest = digest(settings.gateway_token) if settings.gateway_token else None
        self._tokens = TokenFile(settings.tokens_file) if settings.tokens_file else None
        self._rate = RateLimit(settings.rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = complete = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started, complete
            if message["type"] == "http.response.body":
                complete = not message.get("more_body", False)
            elif message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers.setdefault("Cache-Control", "private, no-cache")
                headers.setdefault("X-Content-Type-Options", "nosniff")
                headers.add_vary_header("Authorization")
            await send(message)

        try:
            self._admit(scope)
            # HEAD is answered like GET: the server leaves out the body.
            method = "GET" if scope["method"] == "HEAD" else scope["method"]
            await self._app({**scope, "method": method}, receive, send_with_headers)
        except Exception as error:
            if complete:
                return  # Starlette raises an unexpected error again after it has been answered.
            if started:
                # The server closes the connection, so that the client notices that the response is incomplete.
                LOG.error("an answer to %s was broken off: %s", scope["path"], one_line(repr(error.__cause__ or error)))
                raise
            await problem_response(as_problem(error), scope["path"])(scope, receive, send_with_headers)

    def _admit(self, scope: Scope) -> None:
        """Set the timeframes that the client may read. Raise ProblemError if it is not admitted."""
        if scope["path"] == HEALTH_PATH:
            return
        headers = Headers(scope=scope)
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise _unauthorized("send the header 'Authorization: Bearer TOKEN'")
        if self._gateway_digest and hmac.compare_digest(digest(token), self._gateway_digest):
            if TIMEFRAMES_HEADER not in headers:
                raise bad_request(f"the gateway's token needs the header {TIMEFRAMES_HEADER}: send it")
            names = {name.strip() for name in headers[TIMEFRAMES_HEADER].split(",")}
            _state(scope)["timeframes"] = tuple(name for name in self._enabled if name in names)
        else:
            found = self._tokens.find(token) if self._tokens else None
            if found is None:
                raise _unauthorized("the token is not valid: ask the operator for a token")
            wait = self._rate.wait_seconds(found.digest)
            if wait:
                raise ProblemError(
                    429,
                    "too many requests with this token: wait for the seconds of Retry-After",
                    {"Retry-After": str(math.ceil(wait))},
                )
            _state(scope)["timeframes"] = self._enabled
        if len(scope["query_string"]) > MAX_QUERY_BYTES:
            raise bad_request(f"the query is longer than {MAX_QUERY_BYTES} bytes: shorten it")


class Cors(CORSMiddleware):
    """CORS for the origins of the settings. Preflight requests carry no token and are answered without one."""

    def __init__(self, app: ASGIApp, origins: tuple[str, ...]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=("GET", "HEAD"),
            allow_headers=("Authorization", "If-None-Match"),
            expose_headers=EXPOSED_HEADERS,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return the answer to a preflight request, as a problem document if it is refused."""
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        problem = bad_request("this origin, method or header is not allowed: ask the operator (OHLCV_API_ORIGINS)")
        problem.headers["Vary"] = response.headers["Vary"]
        return problem_response(problem)


def _state(scope: Scope) -> dict[str, Any]:
    state: dict[str, Any] = scope.setdefault("state", {})
    return state


def _unauthorized(detail: str) -> ProblemError:
    return ProblemError(401, detail, {"WWW-Authenticate": "Bearer"})
