"""Bounded reading of responses: an address in the settings may be that of any program."""

from __future__ import annotations

import time
from collections.abc import Callable

PART_BYTES = 65_536


class ResponseLimitError(Exception):
    """A response is too large or takes too long. The text is the reason, for a message of one line."""


def read_limited(read_part: Callable[[], bytes], seconds: float, max_bytes: int) -> bytes:
    """Return the parts of a response up to the first empty one."""
    # The time limit of the connection applies to each part of a response, not to the whole.
    deadline = time.monotonic() + seconds
    body = bytearray()
    while part := read_part():
        body += part
        if len(body) > max_bytes:
            raise ResponseLimitError(f"the response is larger than {max_bytes} bytes")
        if time.monotonic() > deadline:
            raise ResponseLimitError(f"the response takes longer than {seconds:.0f} s")
    return bytes(body)
