"""The DAG of the 1m candles, due every minute: what takes the real one an hour takes this one twelve minutes."""

import dataclasses
import importlib.util
from pathlib import Path

from ohlcv.config.settings import load_settings

_path = Path(__file__).parents[3] / "dags" / "ohlcv_candles.py"
_spec = importlib.util.spec_from_file_location("ohlcv_candles", _path)
assert _spec is not None
assert _spec.loader is not None
_candles = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_candles)

_settings = load_settings()
# Everything else is the real DAG's: Airflow finds it by the name below.
ohlcv_1m = _candles.build_dag(_settings, dataclasses.replace(_settings.timeframe("1m"), cron="* * * * *"))
