"""Errors of a job on its stderr: no secret of the catalog, neither in the traceback nor in the last line."""

from __future__ import annotations

import pytest
from pyspark.errors import PySparkException

from spark_jobs.runtime import job_runner


def test_the_error_of_a_job_contains_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OHLCV_CATALOG_URI", "http://rest/iceberg")
    monkeypatch.setenv("OHLCV_CATALOG_CREDENTIAL", "loader:hunter2")
    monkeypatch.setattr(job_runner, "watch_parents", lambda: None)

    def refuse(*_: object) -> None:
        raise PySparkException("the issuer does not know loader:hunter2")

    monkeypatch.setattr(job_runner, "open_session", refuse)
    assert job_runner.run_job(lambda _: ("a job", lambda _: {})) == 1
    errors = capsys.readouterr().err
    assert "hunter2" not in errors
    assert "Traceback" in errors
    assert errors.splitlines()[-1].endswith("Spark failed: the issuer does not know …")
