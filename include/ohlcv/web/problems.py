"""Error responses of the candle service: application/problem+json (RFC 9457), one line of detail."""

from __future__ import annotations

import http
import json
import logging
import traceback
from collections.abc import Mapping
from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ohlcv.model.errors import InputError, OhlcvError, UnknownSeriesError, one_line, quoted

LOG = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
MAX_DETAIL = 300
# Innermost frames of an unexpected error in its log line.
LOGGED_FRAMES = 8
# Details by the type of the validation error.
_INVALID_VALUES = {
    "greater_than_equal": "is too small: give at least {ge:,}",
    "less_than_equal": "is too large: give at most {le:,}",
    "literal_error": "has an unknown value: give {expected}",
    "string_too_long": "is too long: give at most {max_length:,} characters",
    "string_too_short": "is empty: give a value, or leave it out",
}


class ProblemError(Exception):
    """An error response. The detail says what to do."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


def bad_request(detail: str) -> ProblemError:
    """Return the error of an invalid request."""
    return ProblemError(400, detail)


def unavailable(detail: str, retry_seconds: int = 5) -> ProblemError:
    """Return the error of a service that can answer later."""
    return ProblemError(503, detail, {"Retry-After": str(retry_seconds)})


def problem_response(problem: ProblemError, path: str = "") -> Response:
    """Return the response for an error of a path."""
    document = {
        "type": "about:blank",
        "title": http.HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": one_line(problem.detail)[:MAX_DETAIL],
    }
    if path.startswith("/udf/"):
        # Clients of this protocol show this member only.
        document |= {"s": "error", "errmsg": document["detail"]}
    headers = {"Cache-Control": "no-store", **problem.headers}
    return Response(json.dumps(document), problem.status, headers, MEDIA_TYPE)


def add_problem_handlers(app: FastAPI) -> None:
    """Answer every error of the application with a problem document."""
    app.add_exception_handler(ProblemError, _handle)
    app.add_exception_handler(OhlcvError, _handle)
    app.add_exception_handler(RequestValidationError, _handle)
    app.add_exception_handler(HTTPException, _handle)
    app.add_exception_handler(Exception, _handle)


def _handle(request: Request, error: Exception) -> Response:
    return problem_response(as_problem(error), request.url.path)


def as_problem(error: Exception) -> ProblemError:
    """Return the error response for an exception."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, InputError):
        return ProblemError(404 if isinstance(error, UnknownSeriesError) else 400, str(error))
    if isinstance(error, OhlcvError):
        LOG.error("%s", one_line(str(error)))
        return unavailable("the candles cannot be read at the moment: try again, or ask the operator to see the log")
    if isinstance(error, RequestValidationError):
        return bad_request(_first_invalid_parameter(error))
    if isinstance(error, HTTPException):
        # Routes know of GET only.
        allowed = {"Allow": "GET, HEAD"} if error.status_code == http.HTTPStatus.METHOD_NOT_ALLOWED else {}
        return ProblemError(error.status_code, _http_detail(error.status_code), {**(error.headers or {}), **allowed})
    log_unexpected(error)
    return ProblemError(500, "unexpected error: try again, or ask the operator to see the log of the candle service")


def log_unexpected(error: BaseException, place: str = "request") -> None:
    """Log an unexpected error with its innermost frames in one line."""
    frames = traceback.extract_tb(error.__traceback__)[-LOGGED_FRAMES:]
    path = " > ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames)
    LOG.error("unexpected %s in %s: %s (%s)", type(error).__name__, place, one_line(str(error))[:1000], path)


def _http_detail(status: int) -> str:
    if status == http.HTTPStatus.NOT_FOUND:
        return "there is no such path: see /openapi.json for the paths"
    if status == http.HTTPStatus.METHOD_NOT_ALLOWED:
        return "use GET or HEAD: candles are read-only"
    return f"{http.HTTPStatus(status).phrase}: correct the request"


def _first_invalid_parameter(error: RequestValidationError) -> str:
    first = error.errors()[0]
    name = quoted(str(first["loc"][-1]))
    if first["type"] == "extra_forbidden":
        return f"unknown parameter {name}: see /openapi.json for the parameters"
    if first["type"] == "missing":
        return f"parameter {name} is missing: add it"
    if first["type"] in _INVALID_VALUES:
        return f"parameter {name} {_INVALID_VALUES[first['type']].format(**first.get('ctx', {}))}"
    return f"parameter {name}: {str(first['msg']).removeprefix('Value error, ')}"
