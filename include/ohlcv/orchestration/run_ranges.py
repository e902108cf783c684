"""Ranges that runs build, and the macros that put them into task templates."""

from __future__ import annotations

from datetime import UTC, date
from math import ceil
from typing import TYPE_CHECKING, Any

from ohlcv.config.settings import load_settings
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import Range, day_range, iso, parse_day, run_days, run_range
from ohlcv.model.timeframes import DAY
from ohlcv.orchestration.parameters import invalid_input_fails

if TYPE_CHECKING:
    from airflow.sdk.types import DagRunProtocol

# Each day of a reprocessing run is a mapped task in the web UI. Airflow allows 1,024 of them. In a run of a candle DAG
# one job builds all days, and more would hold the slot of Spark until its timeout.
MAX_DAYS = 1_000
# Further tries of a task that fails.
RETRIES = 2


def dag_run_range(timeframe: str, dag_run: DagRunProtocol, params: dict[str, Any]) -> Range:
    """Return the range that a run builds. An invalid range fails the task without retries."""
    with invalid_input_fails():
        found = run_range(
            load_settings().timeframe(timeframe),
            interval_end=dag_run.data_interval_end,
            run_after=dag_run.run_after,
            start=params.get("start"),
            end=params.get("end"),
        )
        # A long lookback is a setting, not a mistake.
        if params.get("start"):
            _require_few_days(ceil((found.end - found.start) / DAY), "build it by runs of ohlcv_reprocess")
    return found


def _require_few_days(days: int, remedy: str) -> None:
    if days > MAX_DAYS:
        raise InputError(f"{days:,} days are too many for one run (at most {MAX_DAYS:,}): {remedy}")


def range_start(timeframe: str, dag_run: DagRunProtocol, params: dict[str, Any]) -> str:
    """Return the start of a run's range for a template."""
    return iso(dag_run_range(timeframe, dag_run, params).start)


def range_end(timeframe: str, dag_run: DagRunProtocol, params: dict[str, Any]) -> str:
    """Return the end of a run's range for a template."""
    return iso(dag_run_range(timeframe, dag_run, params).end)


def rebuilds_pending(dag_run: DagRunProtocol, params: dict[str, Any], try_number: int) -> str:
    """Return 'yes' if a run also rebuilds pending hours: a scheduled run that was not cleared and has no given range.

    Cleared, backfilled and manual runs build exactly their own range. So does the last try, because pending hours that
    take longer than the task may would otherwise keep every run from building the newest candles.
    """
    scheduled = dag_run.run_type == "scheduled" and not dag_run.clear_number
    return "yes" if scheduled and not params.get("start") and try_number <= RETRIES else "no"


def dag_run_days(dag_run: DagRunProtocol, params: dict[str, Any]) -> list[date]:
    """Return the UTC days that a reprocessing run rebuilds. Invalid days fail the task without retries."""
    with invalid_input_fails():
        days = run_days(
            interval_end=dag_run.data_interval_end,
            run_after=dag_run.run_after,
            start=params.get("start"),
            end=params.get("end"),
        )
        _require_few_days(len(days), "use a backfill")
        return _days_with_windows(days, dag_run, params)


def _days_with_windows(days: list[date], dag_run: DagRunProtocol, params: dict[str, Any]) -> list[date]:
    """Return the days that have a complete window. The current day has none yet of a long timeframe."""
    settings = load_settings()
    lengths = [settings.timeframe(name).length for name in params.get("timeframes") or settings.timeframes]
    found = [day for day in days if day_range(day).start + min(lengths) <= dag_run.run_after]
    if not found:
        raise InputError(f"no window of {days[-1]} is complete yet: give an earlier start")
    return found


def due(dag_run: DagRunProtocol) -> str:
    """Return when a run was due, for a template. It builds only the windows that were complete then."""
    return iso(dag_run.run_after)


def as_of_day(dag_run: DagRunProtocol, params: dict[str, Any]) -> date:
    """Return the day from which retention counts: the parameter `as_of`, or the day on which the run was due."""
    return parse_day(params["as_of"]) if params.get("as_of") else dag_run.run_after.astimezone(UTC).date()


MACROS = {"range_start": range_start, "range_end": range_end, "rebuilds_pending": rebuilds_pending, "due": due}
