"""The 1m DAG with a run every minute, so that a test of missed runs takes twelve minutes and not an hour.

Airflow collects the DAGs of a file in a set. If this file built a second DAG named ohlcv_1m beside the original, either
could win, in random order from parse to parse. So the original file is executed once, with another cron expression.
"""

import dataclasses
import runpy
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import patch

from ohlcv.config.settings import Settings
from ohlcv.model.timeframes import Timeframe

CANDLE_DAGS = Path(__file__).parents[3] / "dags" / "ohlcv_candles.py"

_original = Settings.timeframes


def _timeframes(settings: Settings) -> dict[str, Timeframe]:
    """Return the timeframes; 1m has a run every minute."""
    found: Mapping[str, Timeframe] = _original.__get__(settings)
    return {**found, "1m": dataclasses.replace(found["1m"], cron="* * * * *")}


with patch.object(Settings, "timeframes", property(_timeframes)):
    ohlcv_1m = runpy.run_path(str(CANDLE_DAGS))["ohlcv_1m"]
