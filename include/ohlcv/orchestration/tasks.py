"""Task factories of the DAGs: Spark jobs, validation and health checks."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import BaseHook, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from ohlcv.model.intervals import day_range, parse_day, requested_range
from ohlcv.model.timeframes import Timeframe
from ohlcv.orchestration.health_alerts import evaluate
from ohlcv.orchestration.links import SparkLink, application_page
from ohlcv.orchestration.prerequisites import SPARK_CONNECTION, SPARK_POOL, connection_problem
from ohlcv.orchestration.priority import ScheduleFirst
from ohlcv.orchestration.run_ranges import dag_run_days, dag_run_range
from ohlcv.orchestration.validate_operator import TargetResolver, ValidateOperator, ValidationTarget, asset_of
from ohlcv.spark.job_protocol import APPLICATION_ID_PREFIX
from ohlcv.spark.spark_submit import SparkJob, profile_path
from ohlcv.spark.toolchain import spark_home

if TYPE_CHECKING:
    from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook
    from airflow.sdk import BaseOperator, Context

    from ohlcv.config.settings import Settings

log = logging.getLogger(__name__)

# Smaller than the weight of any timeframe: due candles are built before old ones are rebuilt.
REPROCESS_WEIGHT = 5
MAINTENANCE_WEIGHT = 3


class CandleJobOperator(SparkSubmitOperator):
    """SparkSubmitOperator that fails at once without a connection, and links to the application while it runs."""

    operator_extra_links = (SparkLink(),)

    def execute(self, context: Context) -> None:
        """Submit the job and wait for it."""
        if problem := connection_problem(BaseHook.get_connection):
            # Without a connection the provider would silently use `--master yarn`.
            raise AirflowFailException(problem)
        self._task_instance = context["ti"]
        super().execute(context)

    def _get_hook(self) -> SparkSubmitHook:
        # The provider reads the output of spark-submit line by line and has no hook for it, so its reader is wrapped.
        hook = super()._get_hook()
        read_log = hook._process_spark_submit_log
        hook._process_spark_submit_log = lambda itr: read_log(self._publish_link(itr))  # type: ignore[method-assign]
        return hook

    def _publish_link(self, lines: Iterator[str]) -> Iterator[str]:
        for line in lines:
            if line.startswith(APPLICATION_ID_PREFIX):
                application = line.removeprefix(APPLICATION_ID_PREFIX).strip()
                self._task_instance.xcom_push(key=SparkLink().xcom_key, value=application_page(application))
            yield line


class DeleteOperator(CandleJobOperator):
    """Job that deletes expired partitions. Nothing is submitted if the plan contains none."""

    def execute(self, context: Context) -> None:
        """Delete the partitions of the plan."""
        arguments: Any = self.application_args
        if not arguments[arguments.index("--days") + 1]:
            log.info("nothing has expired")
            return
        super().execute(context)


class RecordTableOperator(CandleJobOperator):
    """Job that maintains a record table. It is skipped if the plan does not contain the table."""

    def execute(self, context: Context) -> None:
        """Maintain the table."""
        arguments: Any = self.application_args
        if not arguments[arguments.index("--as-of") + 1]:
            raise AirflowSkipException("there is no such table: the task plan says what to do")
        super().execute(context)


def spark_task(
    task_id: str,
    job: SparkJob,
    weight: int,
    timeout: timedelta,
    operator: type[CandleJobOperator] = CandleJobOperator,
    **arguments: Any,
) -> CandleJobOperator:
    """Build the task that submits a Spark job in the pool with one slot."""
    return operator(
        task_id=task_id,
        conn_id=SPARK_CONNECTION,
        application=job.application,
        application_args=list(job.arguments),
        properties_file=str(profile_path(job.profile)),
        # The spark-submit on the path would use pyspark's own home, which does not match the CDS archives.
        env_vars={"SPARK_HOME": str(spark_home())},
        conf=dict(job.conf),
        driver_memory=job.driver_memory,
        executor_memory=job.executor_memory,
        executor_cores=job.executor_cores,
        total_executor_cores=job.executor_cores,
        # The job sets its own name from its timeframe and run.
        name="",
        # In client mode the driver ends with its task, so a retry cannot reconnect to it.
        durable=False,
        pool=SPARK_POOL,
        priority_weight=weight,
        weight_rule=ScheduleFirst(),
        execution_timeout=timeout,
        **arguments,
    )


def priority_of(timeframe: Timeframe, settings: Settings) -> int:
    """Return the priority weight of an enabled timeframe: the smaller the timeframe, the larger the weight."""
    return 10 * (len(settings.enabled) - settings.enabled.index(timeframe.name))


def validate_task(timeframe: Timeframe, settings: Settings, timeout: timedelta) -> BaseOperator:
    """Build the task that validates the range of a run and adds an event to the asset of the table."""

    def resolve_targets(context: Context, _: str) -> list[ValidationTarget]:
        return [(timeframe, dag_run_range(timeframe.name, context["dag_run"], dict(context["params"])))]

    return _validate_task(
        settings,
        resolve_targets,
        [timeframe],
        priority_of(timeframe, settings),
        timeout,
        f"Recompute the run's {timeframe} candles from the trades with DuckDB, and compare every field.",
    )


def days_task() -> Any:
    """Build the task that lists the UTC days that a reprocessing run rebuilds."""

    @task(
        task_id="days",
        retries=1,
        retry_delay=timedelta(seconds=30),
        weight_rule=ScheduleFirst(),
        doc_md="List the UTC days to rebuild.",
    )
    def days() -> list[str]:
        context = get_current_context()
        found = [day.isoformat() for day in dag_run_days(context["dag_run"], dict(context["params"]))]
        log.info("%d days: %s", len(found), ", ".join(found))
        return found

    return days()


def validate_day_task(day: str, settings: Settings, timeout: timedelta) -> BaseOperator:
    """Build the task that validates a reprocessed day in the timeframes of the run."""

    def resolve_targets(context: Context, day: str) -> list[ValidationTarget]:
        params = dict(context["params"])
        if params["dry_run"]:
            raise AirflowSkipException("a dry run writes nothing, so there is nothing to validate")
        whole_day = day_range(parse_day(day))
        due = context["dag_run"].run_after
        return [
            (timeframe, requested_range(timeframe, whole_day.start, whole_day.end, known_until=due))
            for timeframe in map(settings.timeframe, params["timeframes"])
            # The current day has no complete window of a long timeframe yet.
            if whole_day.start + timeframe.length <= due
        ]

    return _validate_task(
        settings,
        resolve_targets,
        list(settings.timeframes.values()),
        REPROCESS_WEIGHT,
        timeout,
        "Recompute the day's candles from the trades with DuckDB, and compare every field.",
        day=day,
    )


def _validate_task(
    settings: Settings,
    resolve_targets: TargetResolver,
    timeframes: list[Timeframe],
    weight: int,
    timeout: timedelta,
    doc_md: str,
    **arguments: Any,
) -> BaseOperator:
    operator: type[BaseOperator] = ValidateOperator
    if settings.validation.runtime == "docker":
        # Imported only if needed: most installations have no Docker provider.
        from ohlcv.orchestration.container_validation import ContainerValidateOperator

        operator = ContainerValidateOperator
    return operator(
        task_id="validate",
        resolve_targets=resolve_targets,
        retries=1,
        retry_delay=timedelta(seconds=30),
        outlets=[asset_of(settings, timeframe) for timeframe in timeframes],
        priority_weight=weight,
        weight_rule=ScheduleFirst(),
        execution_timeout=timeout,
        doc_md=doc_md,
        **arguments,
    )


def measure_task() -> Any:
    """Build the task that runs the health checks. Its task id is persisted as `look`."""

    @task(
        task_id="look",
        weight_rule=ScheduleFirst(),
        doc_md="Measure the health of the pipeline, log every measurement, and send a notification for each alert.",
    )
    def measure() -> None:
        from ohlcv.config.settings import load_settings
        from ohlcv.monitoring.health import health

        context = get_current_context()
        # A cleared or late run measures the present too: alerts about the past would be useless.
        measurements = health(load_settings(), datetime.now(UTC))
        for each in measurements:
            log.info("%-8s %s %s: %s", each.state, each.subject, each.aspect, each.found)
        alerts = evaluate(measurements, context)
        log.info("in alert: %s", ", ".join(alerts) or "nothing")

    return measure()
