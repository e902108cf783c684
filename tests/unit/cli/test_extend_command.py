"""`ohlcv tables extend`, and the views that it replaces."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ohlcv.cli import tables
from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.iceberg.write_lock import write_lock
from ohlcv.model.table_contracts import CANDLE_COLUMNS, MEASURES
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES, get_timeframe
from ohlcv.spark.spark_submit import JobResult
from support.command_line import WarmCommandLine
from support.default_tables import candles_contract
from support.stored_views import store_views

pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")

TABLES = [f"market_data.gold_ohlcv_{name}" for name in DEFAULT_TIMEFRAMES]
CONTRACT = [column.name for column in CANDLE_COLUMNS]


@pytest.fixture
def site(warm: WarmCommandLine) -> Settings:
    settings = load_settings({"OHLCV_HOME": str(warm.home)})
    create_tables(settings)
    return settings


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the jobs of views that were run: each reports that it replaced one view."""
    found: list[str] = []

    def run(job: object, master: str) -> JobResult:
        found.append(master)
        return JobResult(0, json.dumps({"created": [], "replaced": ["market_data.ohlcv"]}), "")

    monkeypatch.setattr(tables, "run", run)
    return found


def columns(site: Settings, name: str) -> list[str]:
    return list(load_table(open_catalog(site), candles_contract(get_timeframe(name))).schema().column_names)


def metadata_files(site: Settings) -> set[str]:
    return {os.path.join(folder, each) for folder, _, files in os.walk(Path(site.home)) for each in files}


def test_one_table_is_extended_and_the_views_are_replaced(
    warm: WarmCommandLine, site: Settings, jobs: list[str]
) -> None:
    assert warm.succeed("tables", "extend", "--timeframe", "5m").splitlines() == [
        "extended market_data.gold_ohlcv_5m",
        "replaced market_data.ohlcv (view)",
        "exists   market_data.ohlcv_latest (view)",
    ]
    assert columns(site, "5m") == [*CONTRACT, *MEASURES]
    assert columns(site, "1m") == CONTRACT
    assert len(jobs) == 1


def test_all_extends_the_tables_that_are_left(warm: WarmCommandLine, site: Settings) -> None:
    warm.succeed("tables", "extend", "--timeframe", "1h", "--no-views")
    rest = [name for name in TABLES if not name.endswith("1h")]
    assert warm.succeed("tables", "extend", "--timeframe", "all", "--no-views").splitlines() == [
        *(f"extended {name}" for name in rest),
        "exists   market_data.gold_ohlcv_1h",
    ]
    assert all(columns(site, name) == [*CONTRACT, *MEASURES] for name in DEFAULT_TIMEFRAMES)


@pytest.mark.parametrize(("name", "found"), [("1m", f"{TABLES[0]} already has"), ("all", f"{TABLES[0]}, {TABLES[1]}")])
def test_a_second_extension_writes_nothing(
    warm: WarmCommandLine, site: Settings, jobs: list[str], name: str, found: str
) -> None:
    warm.succeed("tables", "extend", "--timeframe", "all", "--no-views")
    before = metadata_files(site)
    error = warm.fail(2, "tables", "extend", "--timeframe", name)
    assert error.startswith(found)
    assert error.endswith(" measures: nothing to extend")
    assert metadata_files(site) == before
    assert jobs == []


def test_nothing_is_extended_if_one_of_the_tables_cannot_be(warm: WarmCommandLine, site: Settings) -> None:
    day = load_table(open_catalog(site), candles_contract(get_timeframe("1d")))
    with day.update_schema() as update:
        update.delete_column("vwap")
    before = metadata_files(site)
    error = warm.fail(1, "tables", "extend", "--timeframe", "all")
    assert error == (
        "market_data.gold_ohlcv_1d does not match its contract: column vwap is missing: "
        "undo this change, nothing is changed by itself"
    )
    assert metadata_files(site) == before


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("2h", "timeframe '2h' is not enabled: add it to OHLCV_TIMEFRAMES"),
        ("3m", "unknown timeframe '3m': choose one of "),
    ],
)
def test_other_timeframes_are_refused(warm: WarmCommandLine, site: Settings, name: str, error: str) -> None:
    assert warm.fail(2, "tables", "extend", "--timeframe", name).startswith(error)


def test_a_table_is_extended_under_its_write_lock(
    warm: WarmCommandLine, site: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_lock.__wrapped__, "__defaults__", (0.0,))  # type: ignore[attr-defined]
    with write_lock(site, candles_contract(get_timeframe("5m"))):
        error = warm.fail(1, "tables", "extend", "--timeframe", "5m")
    assert error.startswith("market_data.gold_ohlcv_5m is locked by process ")
    assert columns(site, "5m") == CONTRACT


def test_current_views_start_no_job(warm: WarmCommandLine, site: Settings, jobs: list[str]) -> None:
    store_views(site)
    assert "exists   market_data.ohlcv (view)" in warm.succeed("tables", "create")
    assert jobs == []
    assert "replaced market_data.ohlcv (view)" in warm.succeed("tables", "create", OHLCV_TIMEFRAMES="1m,15m")
    assert len(jobs) == 1
