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
def test_a_library_of_another_processor_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "libcomet.so").write_bytes(b"no library")
    monkeypatch.setattr("ohlcv.spark.spark_submit.library_folder", lambda: tmp_path)
    # Comet then looks for a library in its jar, and copies it to the folder for temporary files.
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Djava.io.tmpdir=/proc")
    found = check_native(load_settings({}))
    assert found.state == "warning"
    assert found.found.startswith("the native library cannot be loaded (")
    assert found.found.endswith(
        "jobs run on the JVM; set OHLCV_NATIVE=no, or correct this and run 'ohlcv doctor' again"
    )
