"""The package's door into Airflow: the link on Spark tasks, and the order in which they get the pool's slot."""

from airflow.plugins_manager import AirflowPlugin

from ohlcv.orchestration.links import SparkLink
from ohlcv.orchestration.priority import ScheduleFirst


class OhlcvPlugin(AirflowPlugin):
    """Register what serialized DAGs refer to by name."""

    name = "ohlcv"
    operator_extra_links = (SparkLink(),)
    priority_weight_strategies = (ScheduleFirst,)
