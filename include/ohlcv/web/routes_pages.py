"""Health, API documentation, and the files of the built page."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from ohlcv.web.access import HEALTH_PATH

STATIC = Path(__file__).parent / "static"
SWAGGER_FILES = ("swagger-ui-bundle.js", "swagger-ui.css")
_FILE = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]*/)*[A-Za-z0-9_-][A-Za-z0-9._-]*")

# Addresses are relative: in Airflow the service has the prefix /ohlcv.
_SCRIPT = 'SwaggerUIBundle({url: "openapi.json", dom_id: "#docs", deepLinking: true, validatorUrl: null});'
_SCRIPT_HASH = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
_SWAGGER_PAGE = f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>OHLCV candles: API</title><link rel="stylesheet" href="static/swagger-ui.css"></head>
<body><div id="docs"></div><script src="static/swagger-ui-bundle.js"></script><script>{_SCRIPT}</script></body>
</html>
"""
_SWAGGER_POLICY = (
    f"default-src 'self'; script-src 'self' 'sha256-{_SCRIPT_HASH}'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:"
)
_LIST_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

router = APIRouter(include_in_schema=False)


@router.get(HEALTH_PATH)
async def health() -> Response:
    """Return ok. The only path without a token."""
    return PlainTextResponse("ok")


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """Return the OpenAPI document."""
    return JSONResponse(request.app.openapi())


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Return the API documentation: Swagger UI if its files are installed, otherwise a list of the routes."""
    if all((STATIC / name).is_file() for name in SWAGGER_FILES):
        return HTMLResponse(_SWAGGER_PAGE, headers={"Content-Security-Policy": _SWAGGER_POLICY})
    return HTMLResponse(_route_list(request), headers={"Content-Security-Policy": _LIST_POLICY})


@router.get("/static/{path:path}")
async def static(path: str) -> Response:
    """Return a file of the built page."""
    file = STATIC / path
    if not _FILE.fullmatch(path) or not file.is_file() or not file.resolve().is_relative_to(STATIC.resolve()):
        raise HTTPException(404)
    return FileResponse(file)


def _route_list(request: Request) -> str:
    document = request.app.openapi()
    rows = "".join(
        f"<dt><code>GET {html.escape(path)}</code></dt><dd>{html.escape(operations['get']['summary'])}: "
        f"{html.escape(operations['get'].get('description', ''))}</dd>"
        for path, operations in document["paths"].items()
    )
    title = html.escape(document["info"]["title"])
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>'
        f"<body><h1>{title}</h1>"
        f'<p>The complete description is <a href="openapi.json">openapi.json</a>.</p><dl>{rows}</dl></body></html>'
    )
