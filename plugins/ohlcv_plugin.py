"""The package's door into Airflow: links on Spark tasks, the order they get the pool's slot in, checks at start."""

from airflow.plugins_manager import AirflowPlugin

from ohlcv.orchestration import startup
from ohlcv.orchestration.deadlines import ScheduledRunCreated
from ohlcv.orchestration.links import SparkLink
from ohlcv.orchestration.priority import ScheduleFirst


class OhlcvPlugin(AirflowPlugin):
    """Register what serialized DAGs refer to by name."""

    name = "ohlcv"
    operator_extra_links = (SparkLink(),)
    priority_weight_strategies = (ScheduleFirst,)
    deadline_references = (ScheduledRunCreated,)
    listeners = (startup,)
