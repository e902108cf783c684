"""Settings of the candle service."""

from __future__ import annotations

import pytest

from ohlcv.config.settings import load_settings
from ohlcv.model.errors import InputError


def test_the_defaults_give_access_to_nobody() -> None:
    api = load_settings({}).api
    assert (api.tokens_file, api.origins, api.rate, api.url, api.gateway_token) == (None, (), 20, None, None)


def test_origins_are_a_list_without_paths() -> None:
    settings = load_settings({"OHLCV_API_ORIGINS": "https://a.example, http://b:8080,"})
    assert settings.api.origins == ("https://a.example", "http://b:8080")
    for origin in ("*", "https://a.example/path", "a.example", "ftp://a"):
        with pytest.raises(InputError, match=r"^OHLCV_API_ORIGINS contains"):
            load_settings({"OHLCV_API_ORIGINS": origin})


def test_the_address_of_a_service_needs_its_secret() -> None:
    with pytest.raises(InputError, match=r"^OHLCV_API_URL needs OHLCV_API_GATEWAY_TOKEN"):
        load_settings({"OHLCV_API_URL": "http://candles:8090"})
    settings = load_settings({"OHLCV_API_URL": "http://candles:8090", "OHLCV_API_GATEWAY_TOKEN": "hidden"})
    assert settings.api.url == "http://candles:8090"
    assert "hidden" not in repr(settings)
