"""Recording of the coverage in Airflow."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ohlcv.config.settings import load_settings
from ohlcv.coverage.report import CoverageReport
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.model.errors import OhlcvError
from ohlcv.model.summary_keys import COVERAGE_UNTIL

pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")


def record() -> None:
    """Run the task of the DAG."""
    from airflow.dag_processing.dagbag import DagBag

    task: Any = DagBag(Path(__file__).parents[2] / "dags").dags["ohlcv_coverage"].get_task("record")
    task.python_callable()


def test_the_task_records_until_the_hour_of_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OHLCV_HOME", str(tmp_path))
    settings = load_settings()
    create_tables(settings)
    caplog.set_level(logging.INFO, logger="ohlcv.orchestration.coverage_tasks")
    before = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    record()
    table = load_table(open_catalog(settings), settings.coverage_contract)
    assert datetime.fromisoformat(table.properties[COVERAGE_UNTIL]) >= before
    assert "0 hours of 0 series; 0 trades delivered, 0 accepted, 0 rejected" in caplog.text


def test_without_the_table_the_task_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OHLCV_HOME", str(tmp_path))
    settings = load_settings()
    create_tables(settings)
    open_catalog(settings).drop_table(settings.coverage_contract.identifier)
    message = "there is no table market_data.gold_ohlcv_coverage: run 'ohlcv tables create'"
    with pytest.raises(OhlcvError, match=message):
        record()


def test_the_log_line_names_what_is_left() -> None:
    from ohlcv.orchestration.coverage_tasks import format_coverage_report

    report = CoverageReport(1, hours=2, expired_hours=3, pending_hours=4, series=5, deliveries=1000, accepted=900)
    report.until = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert format_coverage_report(report) == (
        "2 hours of 5 series; 1,000 trades delivered, 900 accepted, 0 rejected; 3 hours without source; "
        "4 hours are counted by the next runs; counted until 2026-03-01T12:00:00Z; 0.0 s"
    )
