"""Check of the pool and the connection when Airflow's services start.

Without it a missing pool would only show as tasks that wait for ever.
"""

from __future__ import annotations

import logging
from typing import Any

from airflow.listeners import hookimpl

from ohlcv.orchestration.prerequisites import connection_problem, pool_problem

log = logging.getLogger(__name__)


@hookimpl
def on_starting(component: Any) -> None:
    """Log missing prerequisites in the services that reach the database: scheduler, triggerer, DAG processor."""
    from airflow.jobs.job import Job
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session

    if not isinstance(component, Job):
        return
    with create_session() as session:
        problems = [pool_problem(session), connection_problem(Connection.get_connection_from_secrets)]
    for problem in filter(None, problems):
        log.error("ohlcv: %s", problem)
