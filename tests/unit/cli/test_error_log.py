"""The log file of unexpected errors."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ohlcv.cli.error_log import log_error, redact
from ohlcv.model.errors import OhlcvError


def test_errors_are_appended_with_their_command_and_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ohlcv", "candles", "--symbol", "a b"])
    log = log_error(OhlcvError("first"), {"OHLCV_HOME": str(tmp_path)})
    assert log == tmp_path / "logs" / "errors.log"
    assert log_error(OhlcvError("second \x1b[31m"), {"OHLCV_HOME": str(tmp_path)}) == log
    text = log.read_text()
    assert " ohlcv candles --symbol 'a b'\n" in text
    assert text.index("OhlcvError: first\n") < text.index("OhlcvError: second \\x1b[31m\n")
    assert log.stat().st_mode & 0o777 == 0o600


def test_the_log_is_a_temporary_file_if_the_home_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "file").touch()
    for home in (str(tmp_path / "file"), "/dev/null"):
        log = log_error(OhlcvError("text"), {"OHLCV_HOME": home})
        assert log is not None
        assert log.parent == tmp_path
        assert "OhlcvError: text" in log.read_text()
        assert log.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    assert log_error(OhlcvError("text"), {"OHLCV_HOME": "/dev/null"}) is None


def test_secrets_are_redacted_however_they_are_quoted(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from file\n")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    environment = {
        "OHLCV_HOME": str(tmp_path),
        "OHLCV_CATALOG_PASSWORD": "p@ss word'",
        "OHLCV_CATALOG_TOKEN": "token",
        "OHLCV_S3_SECRET_KEY": "key/1",
        "OHLCV_AIRFLOW_PASSWORD_FILE": str(tmp_path / "secret"),
        "OHLCV_SPARK_SECRET_FILE": str(fifo),
        "OHLCV_WAREHOUSE": "s3://shown",
    }
    (tmp_path / "binary").write_bytes(b"\x80\xff")
    environment["OHLCV_S3_SECRET_KEY_FILE"] = str(tmp_path / "binary")
    text = "p@ss word' p%40ss%20word%27 p%40ss+word%27 token key/1 key%2F1 from file s3://shown"
    assert redact(text, environment) == "*** *** *** *** *** *** *** s3://shown"
    log = log_error(OhlcvError("token of p@ss word'"), environment)
    assert log is not None
    assert "OhlcvError: *** of ***\n" in log.read_text()


def test_the_entry_point_imports_no_library_before_it_handles_errors() -> None:
    code = "import sys, ohlcv.cli.main; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert {"click", "rich", "croniter", "tempfile"}.isdisjoint(result.stdout.split())
