"""The job of the views: it creates missing views and replaces those over other tables or columns."""

from __future__ import annotations

from datetime import timedelta

from pyspark.sql import DataFrame

from ohlcv.config.settings import load_settings
from ohlcv.iceberg.tables import create_tables, extend
from ohlcv.iceberg.views import view_states
from ohlcv.model.table_contracts import MEASURES
from ohlcv.model.timeframes import get_timeframe
from spark_jobs.jobs.views import create_views
from support.default_tables import candles_contract
from support.harness import Harness, at, trade

NOON = at("2026-03-01 12:00")
NAMES = ["market_data.ohlcv", "market_data.ohlcv_latest"]
COUNT = len(MEASURES)


def view(harness: Harness, name: str = NAMES[0]) -> DataFrame:
    return harness.spark.table(f"iceberg.{name}").orderBy("timeframe")


def test_views_are_replaced_if_and_only_if_their_tables_or_columns_changed(harness: Harness) -> None:
    harness.load([trade(NOON, "100")])
    for timeframe in ("1m", "1h"):
        harness.build(timeframe, NOON, NOON + timedelta(hours=1))
    assert create_views(harness.spark, harness.settings) == {"created": NAMES, "replaced": []}
    assert create_views(harness.spark, harness.settings) == {"created": [], "replaced": []}
    assert set(view_states(harness.settings).values()) == {"current"}
    before = [tuple(row) for row in view(harness).collect()]
    assert len(before) == 2

    extend(harness.settings, candles_contract(get_timeframe("1h")))
    assert set(view_states(harness.settings).values()) == {"outdated"}
    # A view that is not replaced stays valid, with the columns that it had.
    assert [tuple(row) for row in view(harness).collect()] == before
    assert create_views(harness.spark, harness.settings) == {"created": [], "replaced": NAMES}
    assert set(view_states(harness.settings).values()) == {"current"}
    for name in NAMES:
        assert tuple(view(harness, name).columns[-COUNT:]) == MEASURES
        rows = [tuple(row) for row in view(harness, name).collect()]
        assert [row[:-COUNT] for row in rows] == before
        assert {row[-COUNT:] for row in rows} == {(None,) * COUNT}

    fewer = load_settings({"OHLCV_HOME": str(harness.settings.home), "OHLCV_TIMEFRAMES": "1m,2h"})
    create_tables(fewer)
    # No table of these timeframes has measures.
    assert create_views(harness.spark, fewer) == {"created": [], "replaced": NAMES}
    assert [tuple(row) for row in view(harness).collect()] == [row for row in before if row[0] == "1m"]
    one = load_settings({"OHLCV_HOME": str(harness.settings.home), "OHLCV_TIMEFRAMES": "1m"})
    assert create_views(harness.spark, one) == {"created": [], "replaced": NAMES[:1]}
