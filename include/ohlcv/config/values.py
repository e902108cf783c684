"""Parsers of setting values, used by all groups of settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ohlcv.model.errors import InputError


def recipients(text: str | None) -> tuple[str, ...]:
    """Return the email addresses in a comma-separated list."""
    found = tuple(filter(None, (part.strip() for part in (text or "").split(","))))
    for address in found:
        if not re.fullmatch(r"[^@\s]+@[^@\s]+", address):
            raise InputError(f"OHLCV_ALERT_EMAIL contains '{address}': give email addresses such as you@example.com")
    return found


def web_address(values: Mapping[str, str], name: str) -> str | None:
    """Return an http(s) address without its trailing slash."""
    text = values.get(name)
    if not text:
        return None
    # Not urlsplit: it accepts an invalid port without an error.
    if not re.fullmatch(
        r"https?://[^\s/@:?#]+(:[0-9]{1,5})?(/[^\s?#]*)?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?/?", text
    ):
        raise InputError(f"{name} is '{text}': give an address such as http://host:8080")
    return text.rstrip("/")


def count(values: Mapping[str, str], name: str, default: int) -> int:
    """Return a whole number of 1 or more."""
    text = values.get(name) or str(default)
    if not text.isdigit() or int(text) < 1:
        raise InputError(f"{name} must be a whole number of 1 or more, not '{text}'")
    return int(text)


def secret(values: Mapping[str, str], name: str) -> str | None:
    """Return a secret from its variable or from the file named by its …_FILE variable."""
    if path := values.get(f"{name}_FILE"):
        try:
            # An empty file counts as unset: a deployment mounts the files of all secrets, used or not.
            return Path(path).read_text().strip() or None
        except OSError as error:
            raise InputError(f"{name}_FILE cannot be read: {error.strerror}") from None
    return values.get(name) or None
