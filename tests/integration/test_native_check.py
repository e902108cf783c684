"""The query with which `ohlcv doctor` checks native execution."""

from __future__ import annotations

from pathlib import Path

import pytest

from ohlcv.config.settings import load_settings
from ohlcv.monitoring.doctor import Check, check_native


def test_the_plan_of_a_small_query_is_native() -> None:
    found = "a small query was scanned and aggregated natively; used by: reprocessing"
    assert check_native(load_settings({})) == Check("native", "ok", found)


@pytest.mark.archives
def test_a_processor_without_a_library_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ohlcv.spark.spark_submit.library_folder", lambda: tmp_path)
    # Comet looks for a library of this processor in its jar.
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Dos.arch=riscv64")
    found = check_native(load_settings({}))
    assert found.state == "warning"
    assert found.found.startswith("the native library cannot be loaded (")
    assert found.found.endswith(
        "jobs run on the JVM; set OHLCV_NATIVE=no, or correct this and run 'ohlcv doctor' again"
    )
