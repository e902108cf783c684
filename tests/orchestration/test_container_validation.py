"""Settings that the validation in a container gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from ohlcv.orchestration.container_validation import mapping_file


def test_a_mapping_is_mounted_by_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert mapping_file({"OHLCV_TRADES_MAPPING": "mapping.yaml"}) == {
        "OHLCV_TRADES_MAPPING": f"{tmp_path}/mapping.yaml"
    }
    assert mapping_file({"OHLCV_TRADES_MAPPING": ""}) == mapping_file({}) == {}
