"""The tasks every pipeline is made of."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import Asset, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from ohlcv.catalog import CATALOG_NAME
from ohlcv.orchestration.links import SparkLink
from ohlcv.orchestration.priority import ScheduleFirst
from ohlcv.orchestration.ranges import own_range
from ohlcv.orchestration.site import SPARK_CONNECTION, SPARK_POOL
from ohlcv.schema import NAMESPACE
from ohlcv.submit import SparkJob
from ohlcv.timeframes import TIMEFRAMES, Timeframe

log = logging.getLogger(__name__)


class CandleJobOperator(SparkSubmitOperator):
    """SparkSubmitOperator with a link to Spark's own page."""

    operator_extra_links = (SparkLink(),)


def spark_task(task_id: str, job: SparkJob, weight: int, timeout: timedelta, **more: Any) -> CandleJobOperator:
    """Make the task that submits a job, alone in the pool."""
    return CandleJobOperator(
        task_id=task_id,
        conn_id=SPARK_CONNECTION,
        application=job.application,
        application_args=list(job.arguments),
        conf=dict(job.conf),
        driver_memory=job.driver_memory,
        executor_memory=job.executor_memory,
        executor_cores=job.executor_cores,
        total_executor_cores=job.executor_cores,
        # The job names itself by its timeframe and run.
        name="",
        # Client mode has nothing to reconnect to: the driver ends with its task.
        durable=False,
        pool=SPARK_POOL,
        priority_weight=weight,
        weight_rule=ScheduleFirst(),
        execution_timeout=timeout,
        **more,
    )


def priority_of(timeframe: Timeframe) -> int:
    """Give smaller timeframes the larger weight."""
    return 10 * (len(TIMEFRAMES) - list(TIMEFRAMES).index(timeframe.name))


def asset_of(timeframe: Timeframe) -> Asset:
    """Give the asset a timeframe's table is in Airflow."""
    return Asset(name=timeframe.table, uri=f"{CATALOG_NAME}://{NAMESPACE}/{timeframe.table}", group="ohlcv")


def validate_task(timeframe: Timeframe) -> Any:
    """Make the task that checks what a run built against the trades, and tells the asset of it."""

    @task(
        task_id="validate",
        retries=1,
        retry_delay=timedelta(seconds=30),
        outlets=[asset_of(timeframe)],
        priority_weight=priority_of(timeframe),
        weight_rule=ScheduleFirst(),
        doc_md=f"Recompute the {timeframe} candles the run built by another engine, and compare every field.",
    )
    def validate_candles() -> None:
        # DuckDB and pyiceberg are loaded where the task runs, not where DAG files are parsed.
        from ohlcv.settings import load_settings
        from ohlcv.validation import describe, event_details, validate

        context = get_current_context()
        run = context["dag_run"]
        own = own_range(timeframe.name, run, dict(context["params"]))
        verdict = validate(load_settings(), timeframe, own, run.run_id)
        log.info("%s", describe(verdict))
        context["outlet_events"][asset_of(timeframe)].extra = event_details(verdict)
        if verdict.findings:
            raise AirflowFailException(f"{len(verdict.findings)} findings, the first: {verdict.findings[0]}")

    return validate_candles()
