"""Airflow plugin: links of Spark tasks, priorities in the pool, deadlines, and checks when a service starts."""

from airflow.plugins_manager import AirflowPlugin

from ohlcv.orchestration import startup
from ohlcv.orchestration.deadlines import ScheduledRunCreated
from ohlcv.orchestration.links import SparkLink
from ohlcv.orchestration.priority import ScheduleFirst


class OhlcvPlugin(AirflowPlugin):
    """Register the classes that serialized DAGs refer to by name."""

    name = "ohlcv"
    operator_extra_links = (SparkLink(),)
    priority_weight_strategies = (ScheduleFirst,)
    deadline_references = (ScheduledRunCreated,)
    listeners = (startup,)
