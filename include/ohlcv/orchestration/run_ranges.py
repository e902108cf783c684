"""What a run builds, in the words of Airflow's templates."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from ohlcv.config.settings import load_settings
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import Range, iso, parse_day, run_days, run_range

if TYPE_CHECKING:
    from airflow.sdk.types import DagRunProtocol

# Each day of a reprocessing run is a row of tasks in the web UI; Airflow's own limit is 1,024.
MOST_DAYS = 1_000


def own_range(timeframe: str, dag_run: DagRunProtocol, params: dict[str, Any]) -> Range:
    """Give the range of a run; a range that cannot be meant fails the task at once, without retries."""
    try:
        return run_range(
            load_settings().timeframe(timeframe),
            interval_end=dag_run.data_interval_end,
            run_after=dag_run.run_after,
            start=params.get("start"),
            end=params.get("end"),
        )
    except InputError as error:
        raise AirflowFailException(str(error)) from None


def range_start(timeframe: str, dag_run: DagRunProtocol, params: dict[str, Any]) -> str:
    """Give the start for a template."""
    return iso(own_range(timeframe, dag_run, params).start)


def range_end(timeframe: str, dag_run: DagRunProtocol, params: dict[str, Any]) -> str:
    """Give the end for a template."""
    return iso(own_range(timeframe, dag_run, params).end)


def repairs(dag_run: DagRunProtocol, params: dict[str, Any]) -> str:
    """Tell whether a run mends old hours: scheduled ones do, once; cleared and backfilled ones build their range."""
    scheduled = dag_run.run_type == "scheduled" and not dag_run.clear_number
    return "yes" if scheduled and not params.get("start") else "no"


def own_days(dag_run: DagRunProtocol, params: dict[str, Any]) -> list[date]:
    """Give the UTC days a reprocessing run rebuilds."""
    try:
        days = run_days(
            interval_end=dag_run.data_interval_end,
            run_after=due_time(dag_run),
            start=params.get("start"),
            end=params.get("end"),
        )
        if len(days) > MOST_DAYS:
            raise InputError(f"{len(days):,} days are too many for one run, {MOST_DAYS} are the most: use a backfill")
    except InputError as error:
        raise AirflowFailException(str(error)) from None
    return days


def due_time(dag_run: DagRunProtocol) -> datetime:
    """Tell when a run was due: only what was complete then is built."""
    return max(dag_run.run_after, dag_run.data_interval_end or dag_run.run_after)


def due(dag_run: DagRunProtocol) -> str:
    """Give the due time for a template."""
    return iso(due_time(dag_run))


def as_of_day(dag_run: DagRunProtocol, params: dict[str, Any]) -> date:
    """Give the day from which a run reckons: the one asked for, or that on which it was due."""
    return parse_day(params["as_of"]) if params.get("as_of") else due_time(dag_run).date()


MACROS = {"range_start": range_start, "range_end": range_end, "repairs": repairs, "due": due}
