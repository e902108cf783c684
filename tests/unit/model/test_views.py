"""The queries of the views: enabled timeframes, measures of extended tables, and nulls for the others."""

from __future__ import annotations

import pytest

from ohlcv.model.table_contracts import CANDLE_COLUMNS, MEASURES
from ohlcv.model.views import view_statements
from support.default_tables import CANDLES_VIEW, LATEST_VIEW, NAMES

CONTRACT = ", ".join(column.name for column in CANDLE_COLUMNS)


@pytest.mark.parametrize("enabled", [["1m", "5m", "30m", "1h", "1d"], ["15m", "4h"], ["2h"]])
def test_the_views_read_every_enabled_timeframe_and_cast_volume_to_the_wide_type(enabled: list[str]) -> None:
    statements = view_statements("iceberg", NAMES, enabled, ())
    assert list(statements) == [CANDLES_VIEW, LATEST_VIEW]
    parts = statements[CANDLES_VIEW].split(" UNION ALL ")
    for timeframe, part in zip(enabled, parts, strict=True):
        assert part.startswith(f"SELECT '{timeframe}' AS timeframe, symbol, exchange, window_start,")
        assert part.endswith(f", created_at, updated_at FROM `iceberg`.`market_data`.`gold_ohlcv_{timeframe}`")
        assert "CAST(volume AS decimal(38, 8)) AS volume" in part
    assert statements[LATEST_VIEW].startswith(f"SELECT timeframe, {CONTRACT} FROM (SELECT timeframe, {CONTRACT}, row")
    assert "FROM `iceberg`.`market_data`.`ohlcv`)" in statements[LATEST_VIEW]


def test_views_of_an_extended_table_have_measures_and_nulls_for_the_other_tables() -> None:
    statements = view_statements("iceberg", NAMES, ["1m", "15m", "1h"], ["15m", "1d"])
    minute, quarter, hour = statements[CANDLES_VIEW].split(" UNION ALL ")
    nulls = (
        "CAST(NULL AS decimal(38, 16)) AS quote_volume, CAST(NULL AS decimal(38, 8)) AS taker_buy_volume, "
        "CAST(NULL AS decimal(38, 16)) AS taker_buy_quote_volume, CAST(NULL AS timestamp) AS first_trade_at, "
        "CAST(NULL AS timestamp) AS last_trade_at"
    )
    assert f", updated_at, {nulls} FROM" in minute
    assert f", updated_at, {nulls} FROM" in hour
    measures = ", ".join(MEASURES)
    assert f", updated_at, {measures} FROM" in quarter
    assert statements[LATEST_VIEW].count(f", updated_at, {measures}") == 2


def test_a_timeframe_that_is_not_enabled_gives_the_views_no_measures() -> None:
    enabled = ["1m", "1h"]
    assert view_statements("iceberg", NAMES, enabled, ["15m"]) == view_statements("iceberg", NAMES, enabled, ())
