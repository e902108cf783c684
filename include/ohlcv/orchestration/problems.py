"""Error responses of the gateway: application/problem+json with one line that says what to do."""

from __future__ import annotations

import json
from http import HTTPStatus

from starlette.responses import Response


class ProblemError(Exception):
    """An error response. The detail is one line that says what to do."""

    def __init__(self, status: int, detail: str, retry_seconds: float | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = {} if retry_seconds is None else {"Retry-After": str(max(1, round(retry_seconds)))}

    def response(self) -> Response:
        """Return the response."""
        return problem(self.status, self.detail, self.headers)


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """Return an error response (RFC 9457)."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return Response(
        json.dumps(body, ensure_ascii=False),
        status,
        {"Cache-Control": "no-store", **(headers or {})},
        "application/problem+json",
    )
