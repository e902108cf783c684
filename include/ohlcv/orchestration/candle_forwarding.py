"""Forwarding of authorized requests to the candle service, with bounded time and connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from urllib.parse import quote

import httpx
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from ohlcv.model.errors import OhlcvError
from ohlcv.orchestration.candle_access import TIMEFRAME_NAMES
from ohlcv.orchestration.candle_service import CandleService
from ohlcv.orchestration.problems import ProblemError

# Bytes of path and query. The longest valid request is far shorter.
MAX_TARGET = 8_192
# Requests at a time. Further ones wait a few seconds for the end of another.
MAX_REQUESTS, WAIT_SECONDS = 32, 3.0
# Of these, those that use the event loop at a time: requests of Airflow's own pages need not wait for all of them. One
# that waits longer for the service lets another continue.
MAX_TURNS, TURN_SECONDS = 2, 0.25
# Every chunk passes all middlewares of the API server, so an answer of a known size is one chunk. httpx reads 64 KiB.
CHUNK_BYTES, MAX_WHOLE_BYTES = 256 * 1024, 4 * 1024 * 1024
# Cookies and tokens of the user stay here.
REQUEST_HEADERS = ("accept", "accept-encoding", "if-none-match")
# Headers of one connection, those that the API server writes itself, and permissions for other origins, which would
# read with the user's cookie.
DROPPED_HEADERS = {
    *("connection", "keep-alive", "proxy-authenticate", "te", "trailer", "transfer-encoding", "upgrade"),
    *("date", "server", "set-cookie"),
}
NO_SUCH_PAGE = "there is no such page: see /ohlcv/docs"


class Forwarding:
    """Forward requests to the candle service, which is created for the first request."""

    def __init__(self, create: Callable[[], CandleService]) -> None:
        self._create = create
        self._service: CandleService | None = None
        self._lock = asyncio.Lock()
        self._requests = asyncio.Semaphore(MAX_REQUESTS)
        self._turns = asyncio.Semaphore(MAX_TURNS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer of the candle service. Raise ProblemError if there is none."""
        request = Request(scope, receive)
        target = _target(request)
        service = await self._ready_service()
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._requests.acquire()
        except TimeoutError:
            raise ProblemError(503, "the candle service is busy: try again in a few seconds", 5) from None
        try:
            async with self._turn():
                response = await _answer(service, request, target)
            await response(scope, receive, send)
        finally:
            self._requests.release()

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        await self._turns.acquire()
        with ExitStack() as turn:
            turn.callback(self._turns.release)
            timer = asyncio.get_running_loop().call_later(TURN_SECONDS, turn.close)
            turn.callback(timer.cancel)
            yield

    async def _ready_service(self) -> CandleService:
        async with self._lock:
            if self._service is None:
                try:
                    self._service = await asyncio.to_thread(self._create)
                except OhlcvError as error:
                    raise ProblemError(503, f"{error} (in the environment of the API server)") from None
            service = self._service
        await service.await_ready()
        return service


def _target(request: Request) -> bytes:
    """Return path and query for the candle service."""
    path, query = "/" + request.path_params["path"], request.scope["query_string"]
    if len(path) + len(query) > MAX_TARGET:
        raise ProblemError(414, f"the address is longer than {MAX_TARGET} characters: shorten it")
    if not path.isprintable() or "\\" in path or {"..", "."} & set(path.split("/")):
        raise ProblemError(404, NO_SUCH_PAGE)
    return quote(path).encode() + (b"?" + query if query else b"")


async def _answer(service: CandleService, request: Request, target: bytes) -> Response:
    headers = {name: request.headers[name] for name in REQUEST_HEADERS if name in request.headers}
    headers["authorization"] = f"Bearer {service.token}"
    headers["x-ohlcv-timeframes"] = ",".join(request.scope[TIMEFRAME_NAMES])
    try:
        base = service.client.base_url
        url = base.copy_with(raw_path=base.raw_path.rstrip(b"/") + target)
        forwarded = service.client.build_request(request.method, url, headers=headers)
    except (httpx.InvalidURL, UnicodeError):
        raise ProblemError(400, "the address contains invalid characters: write them as %XX") from None
    answer = await _send(service, forwarded)
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        await answer.aclose()
        raise ProblemError(
            502, "the candle service refuses the gateway's token: set the same OHLCV_API_GATEWAY_TOKEN for both"
        )
    if answer.has_redirect_location:
        await answer.aclose()
        raise ProblemError(404, NO_SUCH_PAGE)
    return await _response(answer)


async def _send(service: CandleService, request: httpx.Request) -> httpx.Response:
    try:
        try:
            return await service.client.send(request, stream=True)
        except (httpx.ReadError, httpx.RemoteProtocolError):
            # The process at the other end of an open connection was replaced. Requests only read: send it again.
            return await service.client.send(request, stream=True)
    except (httpx.ConnectError, httpx.ConnectTimeout):
        raise ProblemError(502, f"the candle service does not answer: {service.advice}") from None
    except httpx.TimeoutException:
        raise ProblemError(504, "the candle service took too long: request a smaller range") from None
    except httpx.TransportError:
        raise ProblemError(502, f"the candle service ended the connection: try again, or {service.advice}") from None


async def _response(answer: httpx.Response) -> Response:
    headers = [
        (name, value)
        for name, value in ((name.lower(), value) for name, value in answer.headers.raw)
        if name.decode("latin-1") not in DROPPED_HEADERS and not name.startswith(b"access-control-")
    ]
    if "content-encoding" not in answer.headers:
        # The API server would compress in its event loop. The service compresses what is worth it.
        headers.append((b"content-encoding", b"identity"))
    body = _chunks(answer)
    size = 0 if answer.status_code == httpx.codes.NOT_MODIFIED else answer.headers.get("content-length")
    if size is not None and int(size) <= MAX_WHOLE_BYTES:
        response = Response(b"".join([chunk async for chunk in body]), answer.status_code)
    else:
        response = StreamingResponse(body, answer.status_code)
    response.raw_headers = headers
    return response


async def _chunks(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.aiter_raw(CHUNK_BYTES):
            yield chunk
    finally:
        await answer.aclose()
