"""The 1m and 5m DAGs with a run every five minutes of simulated time, which catch up from ENDURANCE_START.

All their intervals are in the past, so Airflow starts the next scheduled run as soon as the previous one has ended.
"""

import dataclasses
import os
import runpy
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

from airflow import sdk

from ohlcv.config.settings import Settings
from ohlcv.model.timeframes import Timeframe

CANDLE_DAGS = Path(__file__).parents[2] / "dags" / "ohlcv_candles.py"
START = datetime.fromisoformat(os.environ["ENDURANCE_START"])

_timeframes, _dag = Settings.timeframes, sdk.DAG


def _frequent(settings: Settings) -> dict[str, Timeframe]:
    """Return the timeframes with a run every five minutes."""
    found = _timeframes.__get__(settings)
    return {name: dataclasses.replace(each, cron="*/5 * * * *") for name, each in found.items()}


def _catching_up(**options: Any) -> sdk.DAG:
    """Return a DAG that begins at START."""
    return _dag(**{**options, "start_date": START, "catchup": True})


with patch.object(Settings, "timeframes", property(_frequent)), patch.object(sdk, "DAG", _catching_up):
    _found = runpy.run_path(str(CANDLE_DAGS))

ohlcv_1m, ohlcv_5m = _found["ohlcv_1m"], _found["ohlcv_5m"]
