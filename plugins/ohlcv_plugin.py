"""Airflow plugin: the candle page, links of Spark tasks, priorities in the pool, deadlines, and checks at the start."""

from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

from ohlcv.orchestration import startup
from ohlcv.orchestration.candle_page import PREFIX, CandleGateway, react_apps
from ohlcv.orchestration.deadlines import ScheduledRunCreated
from ohlcv.orchestration.links import SparkLink
from ohlcv.orchestration.priority import ScheduleFirst


class OhlcvPlugin(AirflowPlugin):
    """Register the candle page, and the classes that serialized DAGs refer to by name."""

    name = "ohlcv"
    operator_extra_links = (SparkLink(),)
    priority_weight_strategies = (ScheduleFirst,)
    deadline_references = (ScheduledRunCreated,)
    listeners = (startup,)
    fastapi_apps: ClassVar[list[Any]] = [{"name": "ohlcv candles", "app": CandleGateway(), "url_prefix": PREFIX}]
    react_apps: ClassVar[list[Any]] = react_apps()
