"""What a run builds, in the words of Airflow's templates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from ohlcv.errors import InputError
from ohlcv.settings import load_settings
from ohlcv.windows import Range, iso, run_range

if TYPE_CHECKING:
    from airflow.sdk.types import DagRunProtocol


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


MACROS = {"range_start": range_start, "range_end": range_end, "repairs": repairs}
