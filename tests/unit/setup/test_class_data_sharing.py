"""Settings of the job that loads the classes for the archives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ohlcv.config.settings import load_settings
from ohlcv.setup.class_data_sharing import job_settings


def test_the_job_does_not_use_the_catalog_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = load_settings({"OHLCV_HOME": str(tmp_path)})
    monkeypatch.setenv("OHLCV_CATALOG_URI", "https://catalog.example")
    monkeypatch.setenv("OHLCV_NAMESPACE", "lake")
    assert load_settings({**os.environ, **job_settings(str(tmp_path))}) == expected
