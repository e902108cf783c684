"""Links: from a task to the pages of others, and from an alert to what it is about."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf

if TYPE_CHECKING:
    from airflow.sdk.bases.operator import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

# Where people reach the master's page: the driver only knows its address inside the cluster.
WEB_ADDRESS = "OHLCV_SPARK_WEB"
DEFAULT_WEB_ADDRESS = "http://127.0.0.1:8080"
RUNBOOK = "OHLCV_RUNBOOK_URL"
DEFAULT_RUNBOOK = "docs/runbook.md"


def spark_web() -> str:
    """Give the address of the master's page."""
    return (os.environ.get(WEB_ADDRESS) or DEFAULT_WEB_ADDRESS).rstrip("/")


def application_page(application: str) -> str:
    """Give the page of one application: its executors and their logs."""
    return f"{spark_web()}/app/?{urlencode({'appId': application})}"


class SparkLink(BaseOperatorLink):
    """The page of the task's application while it runs; after that the master's, which lists finished ones by run."""

    name = "Spark UI"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002  # Airflow's signature
        # Airflow asks when the task has ended; while it runs the task itself says where (orchestration/tasks.py).
        return spark_web()


def run_links(dag_id: str, run_id: str, section: str, log_page: str | None = None) -> tuple[tuple[str, str], ...]:
    """Give where an alert leads: the log where there is one, the run, and the runbook's section."""
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    return (
        *([("Log", log_page)] if log_page else []),
        ("Run", f"{base}/dags/{dag_id}/runs/{quote(run_id, safe='')}"),
        ("Runbook", f"{os.environ.get(RUNBOOK) or DEFAULT_RUNBOOK}#{section}"),
    )
