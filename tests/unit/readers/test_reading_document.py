"""The recipes of docs/reading.md: each returns the candles that are stored, exactly."""

from __future__ import annotations

import re
from decimal import localcontext
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
import yaml

from ohlcv.config.settings import load_settings
from ohlcv.iceberg.tables import create_tables
from ohlcv.spark.jars import chosen_jars
from support.candle_rows import HOUR, Row, at, candle, extend_table, filled_candle, measured, unfilled, write_candles
from support.coverage_rows import hour_row, write_coverage
from support.documents import named_blocks, run_block
from support.ledger import RecordedHistory
from support.reading import NEWER_HOUR, store_candles

BLOCKS = named_blocks("reading.md")
FRAMES = ("ohlcv", "pandas", "polars", "duckdb", "pyiceberg", "open-catalog", "polars-scan")
# Other tests of this file, tests/spark/test_reading_document.py and tests/integration/test_reading_http.py.
OTHERS = {
    "api-service",
    "api-curl",
    "api-json",
    "api-arrow",
    "api-etag",
    "ohlcv-newest",
    "measures",
    "history",
    "as-of",
    "vintage",
    "as-of-sql",  # tests/unit/readers/test_random_past.py
    "revisions",
    "coverage",
    "pyiceberg-properties",
    "spark-command",
    "spark",
    "spark-properties",
}
# The document marks them as not executed.
NOT_EXECUTED = {"duckdb-extension", "trino-properties", "trino"}

DEPLOYMENT = {
    "OHLCV_CATALOG_URI": "postgresql://candles@db.example:5432/catalog",
    "OHLCV_CATALOG_PASSWORD": "PASSWORD",
    "OHLCV_WAREHOUSE": "s3://candles/warehouse",
    "OHLCV_S3_ENDPOINT": "http://store.example:7070",
    "OHLCV_S3_REGION": "eu-central-1",
    "OHLCV_S3_ACCESS_KEY": "ACCESS-KEY",
    "OHLCV_S3_SECRET_KEY": "SECRET-KEY",
}


@pytest.fixture(scope="module", params=["narrow volume", "wide volume"])
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Row]]:
    home = tmp_path_factory.mktemp("reading")
    return home, store_candles(load_settings({"OHLCV_HOME": str(home)}), wide=request.param == "wide volume")


@pytest.fixture
def hours(stored: tuple[Path, list[Row]], monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """Name the stored candles by the environment, and return those that the recipes read."""
    home, hours = stored
    monkeypatch.setenv("OHLCV_HOME", str(home))
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")
    return hours


def rows(candles: Any) -> list[Row]:
    """Return the rows of a table or frame as its reader converts them to Python values."""
    if isinstance(candles, pd.DataFrame):
        found = candles.to_dict("records")
    else:
        found = candles.to_dicts() if isinstance(candles, pl.DataFrame) else candles.to_pylist()
    return list(found)


def test_every_block_is_executed_or_marked() -> None:
    assert BLOCKS.keys() == {*FRAMES, *OTHERS, *NOT_EXECUTED}


@pytest.mark.parametrize("name", FRAMES)
def test_a_recipe_returns_the_stored_candles(hours: list[Row], name: str) -> None:
    found = rows(run_block(BLOCKS, name)["candles"])
    assert found == hours
    # A float can equal a decimal.
    kinds = {column: type(value) for column, value in hours[0].items()}
    assert all(isinstance(row[column], kind) for row in found for column, kind in kinds.items())


@pytest.mark.parametrize("name", ["pandas", "polars"])
def test_sums_of_products_are_exact(hours: list[Row], name: str) -> None:
    with localcontext(prec=60):
        expected = sum(row["vwap"] * row["volume"] for row in hours)
    assert run_block(BLOCKS, name)["turnover"] == expected


def test_the_newest_windows_are_filled(hours: list[Row]) -> None:
    close = str(hours[-1]["close_price"])
    assert rows(run_block(BLOCKS, "ohlcv-newest")["candles"]) == [
        filled_candle(HOUR, "2026-03-01T23:00", close, "BTC-USD", "coinbase"),
        filled_candle(HOUR, "2026-03-02T00:00", close, "BTC-USD", "coinbase"),
        unfilled(NEWER_HOUR),
    ]


def test_measures_are_read_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OHLCV_HOME", str(tmp_path))
    settings = load_settings({"OHLCV_HOME": str(tmp_path)})
    create_tables(settings)
    extend_table(settings, HOUR)
    stored = measured(candle(HOUR, "2026-03-01T22:00", "84120.00000003", "BTC-USD", "coinbase"))
    write_candles(settings, HOUR, stored)
    assert rows(run_block(BLOCKS, "measures")["candles"]) == [stored]


def test_an_old_snapshot_has_the_candles_of_its_time(hours: list[Row]) -> None:
    assert rows(run_block(BLOCKS, "history")["candles"]) == hours[:-1]


def test_hours_with_missing_numbers_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OHLCV_HOME", str(tmp_path))
    settings = load_settings({"OHLCV_HOME": str(tmp_path)})
    create_tables(settings)
    write_coverage(settings, [hour_row(hour, [3 * hour], "BTC-USD", "coinbase") for hour in (1, 2)], 24)
    assert rows(run_block(BLOCKS, "coverage")["incomplete"]) == [
        {"hour": at("2026-03-01T01:00"), "missing": 0, "detail": "numbers missing: 2 after the hour"},
        {"hour": at("2026-03-01T02:00"), "missing": 2, "detail": "numbers missing: 2 before the hour"},
    ]


class TestPast:
    @pytest.fixture
    def recorded(self, tmp_path: Path) -> RecordedHistory:
        """Return a candle of 00:00 that changed at 02:00, and two days later."""
        settings = load_settings({"OHLCV_HOME": str(tmp_path)})
        create_tables(settings)
        history = RecordedHistory(settings, HOUR, at("2026-02-28T12:00"))
        history.job()
        for time, close in (("2026-03-01T01:05", "1"), ("2026-03-01T02:00", "2"), ("2026-03-03T02:00", "3")):
            history.now = at(time)
            history.job([candle(HOUR, "2026-03-01T00:00", close, "BTC-USD", "coinbase")])
        history.record()
        return history

    def test_the_recipes_return_what_was_known(
        self, recorded: RecordedHistory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OHLCV_HOME", str(recorded.settings.home))
        seen = run_block(BLOCKS, "as-of")
        assert rows(seen["seen"]) == list(recorded.states[2].rows)
        assert seen["snapshot"] == str(recorded.states[2].snapshot).encode()
        vintages = run_block(BLOCKS, "vintage")
        assert rows(vintages["first"]) == list(recorded.states[1].rows)
        assert rows(vintages["after_one_day"]) == list(recorded.states[2].rows)
        followed = run_block(BLOCKS, "revisions")
        assert [row["after_close_price"] for row in rows(followed["changed"])] == [1, 2, 3]
        assert followed["since"] == 4


class TestProperties:
    def test_pyiceberg_has_the_properties_of_the_settings(self) -> None:
        documented = yaml.safe_load(BLOCKS["pyiceberg-properties"].code)["catalog"]
        expected = load_settings(DEPLOYMENT).catalog.pyiceberg_properties()
        # A class of this package.
        del expected["py-io-impl"]
        # Limits of the time to wait for the database.
        expected["uri"] = expected["uri"].partition("?")[0]
        assert documented == {"iceberg": expected}

    def test_spark_has_the_properties_of_the_settings(self) -> None:
        documented = dict(line.split() for line in BLOCKS["spark-properties"].code.splitlines())
        expected = load_settings(DEPLOYMENT).catalog.spark_properties()
        # For poolers, and limits of the time to wait for the database.
        for name in ("prepareThreshold", "socketTimeout", "tcpKeepAlive"):
            del expected[f"spark.sql.catalog.iceberg.jdbc.{name}"]
        assert documented == expected

    def test_the_versions_of_the_jars_are_those_of_the_set_up(self) -> None:
        text = (Path(__file__).parents[3] / "docs" / "reading.md").read_text()
        documented = set(re.findall(r"[\w.]+:[\w.-]+:\d[\w.]*", text))
        assert documented == {jar.coordinate for jar in chosen_jars("jvm")}
