"""Links from tasks to Spark's web pages, and from notifications to logs, runs and the runbook."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf

if TYPE_CHECKING:
    from airflow.sdk.bases.operator import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

# Address of the master's web page for users: the driver only knows the address inside the cluster.
SPARK_WEB_SETTING = "OHLCV_SPARK_WEB"
DEFAULT_SPARK_WEB = "http://127.0.0.1:8080"
RUNBOOK_SETTING = "OHLCV_RUNBOOK_URL"
DEFAULT_RUNBOOK = "docs/runbook.md"


def spark_web() -> str:
    """Return the address of the Spark master's web page."""
    return (os.environ.get(SPARK_WEB_SETTING) or DEFAULT_SPARK_WEB).rstrip("/")


def application_page(application: str) -> str:
    """Return the address of the page of one application, which shows its executors and their logs."""
    return f"{spark_web()}/app/?{urlencode({'appId': application})}"


class SparkLink(BaseOperatorLink):
    """Link to the page of the Spark application while it runs, afterwards to the master's list of applications.

    Airflow derives the XCom key of the link from the class name, so the class must not be moved or renamed.
    """

    name = "Spark UI"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002  # Airflow's signature
        # Airflow calls this when the task has ended. While it runs, the task publishes the application's page itself
        # (CandleJobOperator in orchestration/tasks.py).
        return spark_web()


def run_links(dag_id: str, run_id: str, section: str, log_page: str | None = None) -> tuple[tuple[str, str], ...]:
    """Return the links of a notification: the task log if there is one, the run, and a section of the runbook."""
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    return (
        *([("Log", log_page)] if log_page else []),
        ("Run", f"{base}/dags/{dag_id}/runs/{quote(run_id, safe='')}"),
        ("Runbook", f"{os.environ.get(RUNBOOK_SETTING) or DEFAULT_RUNBOOK}#{section}"),
    )
