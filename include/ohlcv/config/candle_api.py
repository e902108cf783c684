"""Settings of the candle service and of its gateway in Airflow."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ohlcv.config.values import secret, web_address, whole_number
from ohlcv.model.errors import InputError

API_NAMES = (
    "OHLCV_API_TOKENS",
    "OHLCV_API_ORIGINS",
    "OHLCV_API_RATE",
    "OHLCV_API_URL",
    "OHLCV_API_GATEWAY_TOKEN",
    "OHLCV_API_GATEWAY_TOKEN_FILE",
)
DEFAULT_RATE, MAX_RATE = "20", 100_000
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?")


@dataclass(frozen=True)
class ApiSettings:
    """Access to the candle service."""

    # One "NAME TOKEN" per line. None if the service accepts only the gateway.
    tokens_file: Path | None
    # Origins of web pages that may read the API (CORS).
    origins: tuple[str, ...]
    # Requests per second and token.
    rate: int
    # Address of a running candle service. None if the gateway starts one.
    url: str | None
    # Shared secret of the gateway and the candle service.
    gateway_token: str | None = dataclasses.field(repr=False)


def api_settings(values: Mapping[str, str]) -> ApiSettings:
    """Return the settings of the candle service."""
    tokens_file = values.get("OHLCV_API_TOKENS")
    url, token = web_address(values, "OHLCV_API_URL"), secret(values, "OHLCV_API_GATEWAY_TOKEN")
    if url and not token:
        raise InputError("OHLCV_API_URL needs OHLCV_API_GATEWAY_TOKEN (or …_FILE), the secret of the candle service")
    return ApiSettings(
        tokens_file=Path(tokens_file) if tokens_file else None,
        origins=_origins(values.get("OHLCV_API_ORIGINS")),
        rate=whole_number("OHLCV_API_RATE", values.get("OHLCV_API_RATE") or DEFAULT_RATE, MAX_RATE),
        url=url,
        gateway_token=token,
    )


def _origins(text: str | None) -> tuple[str, ...]:
    found = tuple(filter(None, (part.strip() for part in (text or "").split(","))))
    for origin in found:
        if not _ORIGIN.fullmatch(origin):
            raise InputError(
                f"OHLCV_API_ORIGINS contains '{origin[:100]}': give origins such as https://charts.example"
            )
    return found
