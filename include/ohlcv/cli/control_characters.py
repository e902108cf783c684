"""Control characters in human-readable output."""

from __future__ import annotations

import re
from typing import IO

# A terminal executes these characters instead of showing them: C0, delete and C1 characters, line separators, and
# those that change the direction of text. Lone surrogates are bytes of arguments that are not UTF-8.
_CONTROL_CHARACTERS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def neutralize(text: str, keep: str = "") -> str:
    r"""Return the text with control characters as visible escapes such as \x1b, except those to keep."""
    return _CONTROL_CHARACTERS.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def displayable(text: str, stream: IO[str] | None, keep: str = "") -> str:
    """Return the text as a stream can show it: without control characters, and in the stream's encoding."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return neutralize(text, keep).encode(encoding, "backslashreplace").decode(encoding)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
