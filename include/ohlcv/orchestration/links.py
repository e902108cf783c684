"""Links from a task to the pages of others."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk.bases.operator import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

# Where people reach the master's page: the driver only knows its address inside the cluster.
WEB_ADDRESS = "OHLCV_SPARK_WEB"
DEFAULT_WEB_ADDRESS = "http://127.0.0.1:8080"


class SparkLink(BaseOperatorLink):
    """The master's page: running applications first, finished ones below, each by the name of its run."""

    name = "Spark UI"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002  # Airflow's signature
        return os.environ.get(WEB_ADDRESS) or DEFAULT_WEB_ADDRESS
