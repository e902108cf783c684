"""Both engines on trades tables of other shapes: the validation agrees with the job, and stops after a change."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from ohlcv.config.settings import load_settings
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import Range
from ohlcv.model.timeframes import TIMEFRAMES
from ohlcv.quality.validator import validate
from ohlcv.readers.latest import newest_trade
from support.harness import at, trade
from support.lanes import spark_cases
from support.mapped_tables import BY_DAY, BY_HOUR, UNPARTITIONED, MappedHarness, Shape
from support.reference_model import Trade

START, END = at("2026-03-31 22:00"), at("2026-04-01 02:00")
SHAPES = {"hour(ts)": BY_HOUR, "day(ts)": BY_DAY, "unpartitioned": UNPARTITIONED}


def some_trades(chance: random.Random) -> list[Trade]:
    """Return trades with duplicates and corrections."""
    trades = []
    for number in range(150):
        time = START + chance.randrange(4 * 3600) * timedelta(seconds=1)
        first = replace(
            trade(time, f"{chance.randrange(1, 10**12)}E-6", f"{chance.randrange(1, 10**6)}E-8", trade_id=str(number)),
            message_id=None,
            source_sequence=chance.randrange(5),
            side=chance.choice(("BUY", "SELL", "SELL", None)),
            # Whole milliseconds: one shape stores no more.
            ingestion_timestamp=chance.randrange(10**6) * 1000,
        )
        corrected = replace(first, price=Decimal(chance.randrange(1, 100)), ingestion_timestamp=2 * 10**9 + 1000)
        # Only the side orders these versions.
        other = replace(first, side="SELL")
        trades += [first, other, *([corrected] if chance.random() < 0.3 else [])]
    chance.shuffle(trades)
    return trades


@pytest.mark.parametrize("shape", spark_cases(SHAPES, "hour(ts)"))
def test_both_engines_agree(spark: SparkSession, tmp_path: Path, shape: Shape) -> None:
    harness = MappedHarness(spark, tmp_path / "home", shape)
    trades = some_trades(random.Random(3))
    harness.load(trades[:200], trades[200:])
    harness.extend("1m")
    for name in ("1m", "1h"):
        harness.build(name, START, END)
        result = validate(harness.settings, TIMEFRAMES[name], Range(START, END))
        assert (result.failures, result.trades) == ([], len(trades))
        assert result.candles > 3
    bought = [each and each.taker_buy_volume for each in harness.measures("1m").values()]
    # Without an ingestion time a sell is always the last version.
    sides = {0} if shape is UNPARTITIONED else {None, 0, True}
    assert {each and bool(each) for each in bought} == sides
    assert None not in harness.measures("1m").values()
    assert newest_trade(harness.settings) == max(
        START + (each.timestamp or 0) * timedelta(microseconds=1) - (START - at("1970-01-01 00:00")) for each in trades
    )

    # A candle that another writer changed is found.
    # The session has loaded the table as it was before its extension.
    harness.sql("REFRESH TABLE iceberg.market_data.gold_ohlcv_1m")
    harness.sql(
        f"DELETE FROM iceberg.market_data.gold_ohlcv_1m WHERE window_start >= TIMESTAMP '{at('2026-04-01 01:00')}'"
    )
    found = {each.rule for each in validate(harness.settings, TIMEFRAMES["1m"], Range(START, END)).failures}
    assert found == {"none_is_missing"}


def test_a_changed_mapping_stops_the_run(spark: SparkSession, tmp_path: Path) -> None:
    harness = MappedHarness(spark, tmp_path / "home", BY_HOUR)
    harness.load([trade(START), trade(START, symbol="ETH-USD")])
    harness.build("1h", START, END)
    mapping = tmp_path / "filtered.yaml"
    mapping.write_text(BY_HOUR.mapping + 'filters: [{column: pair, "=": BTC-USD}]\n')
    home = str(tmp_path / "home")
    harness.settings = load_settings({"OHLCV_HOME": home, "OHLCV_TRADES_MAPPING": str(mapping)})
    stored = harness.stored("1h")
    with pytest.raises(
        OhlcvError, match=r"^the 1h candles were built with another mapping of the trades table: restore"
    ):
        harness.build("1h", START, END, rebuild_pending=True)
    assert harness.stored("1h") == stored
    harness.build("1h", START, END, new_source=True)
    assert {symbol for symbol, _, _ in harness.stored("1h")} == {"BTC-USD"}
