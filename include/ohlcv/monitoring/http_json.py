"""HTTP requests with JSON responses, limited in time and size: the address may be that of any other program."""

from __future__ import annotations

import json
import time
import urllib.request
from http.client import HTTPException
from typing import Any

MAX_BYTES = 64 * 2**20
_PART_BYTES = 65_536


class UnusableResponseError(Exception):
    """A server did not respond with JSON. The text is the reason, for a message of one line."""


def fetch_json(request: urllib.request.Request, seconds: float) -> Any:
    """Return the decoded response, None if it is empty.

    Raise urllib's HTTPError for an error status, and UnusableResponseError for everything else.
    """
    try:
        with urllib.request.urlopen(request, timeout=seconds) as response:  # noqa: S310  # settings contain only http(s)
            body = _read(response, seconds)
    except urllib.request.HTTPError:
        raise
    except HTTPException:
        raise UnusableResponseError("it does not use HTTP") from None
    except (OSError, UnicodeError) as error:
        raise UnusableResponseError(str(error)) from None
    try:
        return json.loads(body) if body else None
    except (ValueError, RecursionError):
        raise UnusableResponseError("the response is not JSON") from None


def _read(response: Any, seconds: float) -> bytes:
    # The time limit of the connection applies to each part of a response, not to the whole.
    deadline = time.monotonic() + seconds
    body = bytearray()
    while part := response.read1(_PART_BYTES):
        body += part
        if len(body) > MAX_BYTES:
            raise UnusableResponseError(f"the response is larger than {MAX_BYTES} bytes")
        if time.monotonic() > deadline:
            raise UnusableResponseError(f"the response takes longer than {seconds:.0f} s")
    return bytes(body)
