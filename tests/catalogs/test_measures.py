"""Extension, views and progress on every kind of catalog, by the command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from catalogs.conftest import CatalogUnderTest
from ohlcv.iceberg.views import view_states
from ohlcv.model.intervals import day_range, floor_time
from ohlcv.model.timeframes import DAY
from spark_jobs.jobs.reprocess_day import DayRequest, reprocess
from support.command_line import ColdCommandLine
from support.harness import Harness, trade
from support.reference_model import Trade

pytestmark = [
    pytest.mark.catalogs,
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
]

# Within the retention of every timeframe.
MIDNIGHT = floor_time(datetime.now(UTC), DAY) - 2 * DAY
VIEWS = ["market_data.ohlcv", "market_data.ohlcv_latest"]
TIMEFRAMES = ("1m", "1h")


def trades_of_a_day() -> list[Trade]:
    return [trade(MIDNIGHT + timedelta(minutes=30 * n, seconds=7), f"{100 + n % 9}") for n in range(48)]


def count_in_view(harness: Harness, condition: str) -> int:
    view = harness.spark.table(f"{harness.settings.catalog.name}.{VIEWS[0]}")
    return int(view.where("timeframe = '1m'").where(condition).count())


def test_a_table_is_extended_filled_and_shown_in_the_views(catalog: CatalogUnderTest) -> None:
    catalog.environment["OHLCV_TIMEFRAMES"] = ",".join(TIMEFRAMES)
    harness = catalog.harness
    command_line = ColdCommandLine(catalog.home.parent)

    def ohlcv(*arguments: str) -> list[str]:
        return command_line.succeed("tables", *arguments, **catalog.environment).splitlines()

    def progress() -> dict[str, list[int]]:
        found = json.loads("".join(ohlcv("progress", "--json")))
        names = ("candles", "candles_with_measures", "days_built", "days_to_reprocess")
        return {each["timeframe"]: [each[name] for name in names] for each in found["timeframes"]}

    harness.load(trades_of_a_day())
    harness.build("1m", MIDNIGHT, MIDNIGHT + DAY)
    ohlcv("create")
    assert progress() == {"1m": [48, 0, 1, 0], "1h": [0, 0, 0, 1]}
    before = harness.stored("1m")

    extended = ohlcv("extend", "--timeframe", "1m")
    assert extended[0] == "extended market_data.gold_ohlcv_1m"
    if catalog.features.has_views:
        assert extended[1:] == [f"replaced {name} (view)" for name in VIEWS]
        # Only pyiceberg's catalog for Hive does not read views.
        assert set(view_states(harness.settings).values()) <= {"current", "unknown"}
        catalog.observations.append("views " + ", ".join(sorted(set(view_states(harness.settings).values()))))
        assert count_in_view(harness, "quote_volume IS NULL") == 48
    else:
        assert extended[1:] == []
        catalog.observations.append("no views")
    error = command_line.fail(2, "tables", "extend", "--timeframe", "1m", **catalog.environment)
    assert error == "market_data.gold_ohlcv_1m already has measures: nothing to extend"
    assert progress() == {"1m": [48, 0, 0, 1], "1h": [0, 0, 0, 1]}

    day = MIDNIGHT.date()
    ranges = {harness.settings.timeframe(name): day_range(day) for name in TIMEFRAMES}
    reports = reprocess(harness.spark, harness.settings, DayRequest(day, ranges))["timeframes"]
    assert [(each["candles"]["filled"], each["candles"]["inserted"]) for each in reports] == [(48, 0), (0, 24)]
    assert progress() == {"1m": [48, 48, 1, 0], "1h": [24, 0, 1, 0]}
    after = harness.stored("1m")
    assert {key: (each.candle, each.updated_at) for key, each in after.items()} == {
        key: (each.candle, each.updated_at) for key, each in before.items()
    }
    assert harness.measures("1m") == harness.expected_measures("1m", (MIDNIGHT, MIDNIGHT + DAY))
    if catalog.features.has_views:
        assert count_in_view(harness, "quote_volume IS NOT NULL") == 48
