"""## Build candles from trades, one DAG per timeframe

Each run has two tasks. `aggregate` is a Spark job that builds the candles of the run's range and writes them in one
commit, after an audit has recomputed them with DuckDB. `validate` checks the published candles by the rules, recomputes
them if there was no audit, and fails if a field differs.

The range of a run depends on how the run was started:

* **Scheduled**: the timeframe's lookback before the end of the data interval. The run also rebuilds older hours in
  which trades arrived late, and the hours that were missed during an outage.
* **Cleared**: exactly the same range again, without older hours.
* **Backfill** (`airflow backfill create`, `airflow dags backfill`, or the form in the web UI): the lookback before the
  end of each data interval.
* **Triggered**: the lookback before that time, without older hours, or `start` to `end` if given. A given range is
  widened to whole windows, and cut at the last complete window.

A run can be repeated at any time. It writes only the candles that changed, and commits nothing if none changed. All
Spark jobs share a pool with one slot: scheduled runs have priority over backfills, and small timeframes over large
ones.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable, Param

from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.timeframes import Timeframe
from ohlcv.orchestration.callbacks import deadline
from ohlcv.orchestration.default_arguments import DAG_OPTIONS, DEFAULT_ARGUMENTS
from ohlcv.orchestration.run_ranges import MACROS
from ohlcv.orchestration.tasks import priority_of, spark_task, validate_task
from ohlcv.spark.spark_submit import templated_job


def build_dag(settings: Settings, timeframe: Timeframe) -> DAG:
    """Return the DAG of one timeframe."""
    arguments = f"'{timeframe}', dag_run, params"
    job = templated_job(
        settings,
        timeframe.name,
        start=f"{{{{ range_start({arguments}) }}}}",
        end=f"{{{{ range_end({arguments}) }}}}",
        rebuild_pending="{{ rebuilds_pending(dag_run, params, ti.try_number) }}",
        prune="{{ 'yes' if params.prune else 'no' }}",
        dag_id="{{ dag_run.dag_id }}",
        run_id="{{ dag_run.run_id }}",
    )
    with DAG(
        dag_id=timeframe.dag_id,
        description=f"Build {timeframe} candles from trades and validate them",
        doc_md=__doc__,
        schedule=CronDataIntervalTimetable(timeframe.cron, timezone="UTC"),
        max_active_runs=1,
        default_args=DEFAULT_ARGUMENTS,
        deadline=deadline(timeframe.deadline),
        user_defined_macros=MACROS,
        tags=["ohlcv", "candles", timeframe.name],
        params={
            "start": Param(
                None,
                type=["null", "string"],
                format="date-time",
                description="Start of the range to build (UTC), together with `end`. Replaces the run's own range.",
            ),
            "end": Param(
                None,
                type=["null", "string"],
                format="date-time",
                description="End of the range to build (UTC), exclusive.",
            ),
            "prune": Param(
                False,
                type="boolean",
                description="Also delete candles of hours that have no trades at all. By default they are preserved.",
            ),
        },
        **DAG_OPTIONS,
    ) as dag:
        timeout = timedelta(seconds=settings.tuning[timeframe.name].timeout_seconds)
        aggregate = spark_task("aggregate", job, priority_of(timeframe, settings), timeout)
        aggregate.doc_md = f"Build the {timeframe} candles of the run's range and write the changes in one commit."
        aggregate >> validate_task(timeframe, settings, timeout)
    return dag


_settings = load_settings()
for _timeframe in _settings.timeframes.values():
    globals()[_timeframe.dag_id] = build_dag(_settings, _timeframe)
