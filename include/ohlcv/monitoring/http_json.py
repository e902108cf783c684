"""HTTP requests with JSON responses, limited in time and size: the address may be that of any other program."""

from __future__ import annotations

import json
import urllib.request
from http.client import HTTPException
from typing import Any

from ohlcv.config.limited_reading import PART_BYTES, ResponseLimitError, read_limited

MAX_BYTES = 64 * 2**20


class UnusableResponseError(Exception):
    """A server did not respond with JSON. The text is the reason, for a message of one line."""


def fetch_json(request: urllib.request.Request, seconds: float) -> Any:
    """Return the decoded response, None if it is empty.

    Raise urllib's HTTPError for an error status, and UnusableResponseError for everything else.
    """
    try:
        with urllib.request.urlopen(request, timeout=seconds) as response:  # noqa: S310  # settings contain only http(s)
            body = read_limited(lambda: response.read1(PART_BYTES), seconds, MAX_BYTES)
    except urllib.request.HTTPError:
        raise
    except ResponseLimitError as error:
        raise UnusableResponseError(str(error)) from None
    except HTTPException:
        raise UnusableResponseError("it does not use HTTP") from None
    except (OSError, UnicodeError) as error:
        raise UnusableResponseError(str(error)) from None
    try:
        return json.loads(body) if body else None
    except (ValueError, RecursionError):
        raise UnusableResponseError("the response is not JSON") from None
