"""Settings of an embedded catalog with empty tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = load_settings({"OHLCV_HOME": str(tmp_path / "home")})
    create_tables(settings)
    return settings
