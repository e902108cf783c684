"""The tasks every pipeline is made of."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import BaseHook, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from ohlcv.model.intervals import day_range, parse_day, requested_range
from ohlcv.model.timeframes import TIMEFRAMES, Timeframe
from ohlcv.orchestration.health_alerts import judge
from ohlcv.orchestration.links import SparkLink, application_page
from ohlcv.orchestration.prerequisites import SPARK_CONNECTION, SPARK_POOL, connection_problem
from ohlcv.orchestration.priority import ScheduleFirst
from ohlcv.orchestration.run_ranges import due_time, own_days, own_range
from ohlcv.orchestration.validate_operator import Asked, Question, ValidateOperator, asset_of
from ohlcv.spark.job_protocol import APPLICATION_ID_PREFIX
from ohlcv.spark.spark_submit import SparkJob, profile_path
from ohlcv.spark.toolchain import spark_home

if TYPE_CHECKING:
    from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook
    from airflow.sdk import BaseOperator, Context

    from ohlcv.config.settings import Settings

log = logging.getLogger(__name__)

# Less than any timeframe's: candles that are due go before the rebuilding of old ones.
REPROCESS_WEIGHT = 5
MAINTENANCE_WEIGHT = 3


class CandleJobOperator(SparkSubmitOperator):
    """SparkSubmitOperator that refuses a missing connection at once, and links to its application while it runs."""

    operator_extra_links = (SparkLink(),)

    def execute(self, context: Context) -> None:
        """Submit the job and wait for it."""
        if problem := connection_problem(BaseHook.get_connection):
            # Without it the provider would silently submit to a YARN that is not there.
            raise AirflowFailException(problem)
        self._task_instance = context["ti"]
        super().execute(context)

    def _get_hook(self) -> SparkSubmitHook:
        # The provider reads the log of spark-submit line by line and offers no way to look along.
        hook = super()._get_hook()
        read_log = hook._process_spark_submit_log
        hook._process_spark_submit_log = lambda itr: read_log(self._watched(itr))  # type: ignore[method-assign]
        return hook

    def _watched(self, lines: Iterator[str]) -> Iterator[str]:
        for line in lines:
            if line.startswith(APPLICATION_ID_PREFIX):
                application = line.removeprefix(APPLICATION_ID_PREFIX).strip()
                self._task_instance.xcom_push(key=SparkLink().xcom_key, value=application_page(application))
            yield line


class DeleteOperator(CandleJobOperator):
    """Submits nothing where the plan names nothing to delete."""

    def execute(self, context: Context) -> None:
        """Delete what the plan says."""
        words: Any = self.application_args
        if not words[words.index("--days") + 1]:
            log.info("nothing has expired")
            return
        super().execute(context)


def spark_task(
    task_id: str,
    job: SparkJob,
    weight: int,
    timeout: timedelta,
    operator: type[CandleJobOperator] = CandleJobOperator,
    **more: Any,
) -> CandleJobOperator:
    """Make the task that submits a job, alone in the pool."""
    return operator(
        task_id=task_id,
        conn_id=SPARK_CONNECTION,
        application=job.application,
        application_args=list(job.arguments),
        properties_file=str(profile_path(job.profile)),
        # The spark-submit on the path would start from pyspark's own home, and the archives of classes would not fit.
        env_vars={"SPARK_HOME": str(spark_home())},
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


def validate_task(timeframe: Timeframe, settings: Settings) -> BaseOperator:
    """Make the task that checks what a run built against the trades, and tells the asset of it."""

    def asked(context: Context, _: str) -> list[Asked]:
        return [(timeframe, own_range(timeframe.name, context["dag_run"], dict(context["params"])))]

    return _validate_task(
        settings,
        asked,
        [timeframe],
        priority_of(timeframe),
        f"Recompute the {timeframe} candles the run built by another engine, and compare every field.",
    )


def days_task() -> Any:
    """Make the task that lists the UTC days a reprocessing run rebuilds."""

    @task(
        task_id="days",
        retries=1,
        retry_delay=timedelta(seconds=30),
        weight_rule=ScheduleFirst(),
        doc_md="List the UTC days to rebuild.",
    )
    def days() -> list[str]:
        context = get_current_context()
        found = [day.isoformat() for day in own_days(context["dag_run"], dict(context["params"]))]
        log.info("%d days: %s", len(found), ", ".join(found))
        return found

    return days()


def validate_day_task(day: str, settings: Settings) -> BaseOperator:
    """Make the task that checks a reprocessed day."""

    def asked(context: Context, day: str) -> list[Asked]:
        params = dict(context["params"])
        if params["dry_run"]:
            raise AirflowSkipException("a dry run writes nothing, so there is nothing to check")
        span = day_range(parse_day(day))
        due = due_time(context["dag_run"])
        return [
            (timeframe, requested_range(timeframe, span.start, span.end, known_until=due))
            for timeframe in map(get_timeframe, params["timeframes"])
            # A day under way has no complete window of the long timeframes yet.
            if span.start + timeframe.length <= due
        ]

    return _validate_task(
        settings,
        asked,
        list(TIMEFRAMES.values()),
        REPROCESS_WEIGHT,
        "Recompute the day's candles by another engine, and compare every field.",
        day=day,
    )


def _validate_task(
    settings: Settings, asked: Question, timeframes: list[Timeframe], weight: int, text: str, **more: Any
) -> BaseOperator:
    operator: type[BaseOperator] = ValidateOperator
    if settings.validation.runtime == "docker":
        # Loaded where it is used: most sites have no docker.
        from ohlcv.orchestration.container_validation import ContainerValidateOperator

        operator = ContainerValidateOperator
    return operator(
        task_id="validate",
        asked=asked,
        retries=1,
        retry_delay=timedelta(seconds=30),
        outlets=[asset_of(timeframe) for timeframe in timeframes],
        priority_weight=weight,
        weight_rule=ScheduleFirst(),
        doc_md=text,
        **more,
    )


def look_task() -> Any:
    """Make the task that looks at everybody's health."""

    @task(task_id="look", weight_rule=ScheduleFirst(), doc_md="Measure, show, and alert what crosses a limit.")
    def look() -> None:
        from ohlcv.config.settings import load_settings
        from ohlcv.monitoring.health import health

        context = get_current_context()
        # Looks at the present, whatever run it is: health of the past is history.
        measures = health(load_settings(), datetime.now(UTC))
        for measure in measures:
            log.info("%-8s %s %s: %s", measure.state, measure.subject, measure.aspect, measure.found)
        bad = judge(measures, context)
        log.info("in alert: %s", ", ".join(bad) or "nothing")

    return look()
