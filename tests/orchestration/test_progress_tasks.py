"""A reprocessing run logs what is left of its timeframes."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.orchestration.progress_tasks import format_progress, log_progress
from ohlcv.readers.table_progress import TableProgress
from support.harness import append, trade

pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")

LOGGER = "ohlcv.orchestration.progress_tasks"
NOON = (datetime.now(UTC) - timedelta(days=2)).replace(hour=12, minute=0, second=0, microsecond=0)


@pytest.fixture
def site(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Settings:
    settings = load_settings({"OHLCV_HOME": str(tmp_path)})
    create_tables(settings)
    append(load_table(open_catalog(settings), settings.trades_contract), [trade(NOON)])
    caplog.set_level(logging.INFO, logger=LOGGER)
    return settings


def test_the_progress_of_the_timeframes_of_the_run_is_logged(site: Settings, caplog: pytest.LogCaptureFixture) -> None:
    log_progress(site, ["1m", "1d"])
    day = NOON.date()
    left = f"0 of 1 days with trades are built; 1 days are left to reprocess, {day} to {day}"
    assert [record.getMessage() for record in caplog.records if record.name == LOGGER] == [f"1m: {left}", f"1d: {left}"]


def test_an_error_does_not_fail_the_run(site: Settings, caplog: pytest.LogCaptureFixture) -> None:
    open_catalog(site).drop_table(site.trades_contract.identifier)
    log_progress(site, ["1m"])
    assert "the progress is unknown: there is no table market_data.gold_crypto_trades" in caplog.text


def test_the_line_names_measures_and_expired_days() -> None:
    first, last = date(2026, 3, 1), date(2026, 3, 9)
    found = TableProgress("1m", True, 5000, 1234, 30, 27, ((first, first), (last - timedelta(days=1), last)), ())
    assert format_progress(found) == (
        "1m: 27 of 30 days with trades are built; 1,234 of 5,000 candles have measures; "
        "3 days are left to reprocess, 2026-03-01 to 2026-03-09"
    )
    values: dict[str, Any] = {**vars(found), "is_extended": False, "to_reprocess": (), "expired": ((first, last),)}
    assert format_progress(TableProgress(**values)) == (
        "1m: 27 of 30 days with trades are built; 9 days cannot be, because their trades have expired"
    )
