"""Secret properties of a catalog and its stores: which they are, and their removal from messages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

# Names of secret properties. Spark hides the values of properties whose names match.
REDACTED = r"(?i)secret|password|token|credential|(access|account)[.-]?key|shared-key|sas-|connection-string|header\."
# Values that show nothing, such as `token-exchange-enabled=false`, or that would remove parts of ordinary words.
_MIN_LENGTH = 4
_PUBLIC = re.compile(r"(?i)true|false|none|vended-credentials|remote-signing|[0-9]{1,6}|https?://.*")


def is_secret(key: str) -> bool:
    """Return whether the value of a property is secret."""
    return re.search(REDACTED, key) is not None


def secret_values(properties: Mapping[str, str]) -> list[str]:
    """Return the secret values of properties, and the parts of `client_id:secret` that are secret."""
    found = {value for key, value in properties.items() if is_secret(key)}
    if credential := properties.get("credential"):
        found.add(credential.partition(":")[2])
    return sorted(value for value in found if len(value) >= _MIN_LENGTH and not _PUBLIC.fullmatch(value))


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """Return a text with all secrets replaced."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "…")
    return text
