"""Parameters that several DAGs have, and the check of those that a run was given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowFailException

from ohlcv.config.settings import Settings
from ohlcv.model.errors import InputError, quoted

if TYPE_CHECKING:
    from airflow.sdk import Context


def timeframes_parameter(settings: Settings, description: str) -> Param:
    """Return the parameter that chooses enabled timeframes, by default all of them."""
    names = list(settings.timeframes)
    return Param(
        names,
        type="array",
        items={"type": "string", "enum": names},
        examples=names,
        minItems=1,
        uniqueItems=True,
        description=description,
    )


@contextmanager
def invalid_input_fails() -> Iterator[None]:
    """Fail a task without retries if a parameter of its run is invalid: the next try would get the same."""
    try:
        yield
    except InputError as error:
        raise AirflowFailException(str(error)) from None


def check_run_arguments(context: Context) -> None:
    """Fail a task without retries if its run was given an unknown parameter, or a run id that looks like an option.

    Airflow accepts any further parameter. A misspelled `dry_run` would delete, and a misspelled `start` would build
    another range.
    """
    run, known = context["dag_run"], list(context["dag"].params)
    for name in run.conf or {}:
        if name not in known:
            choice = f"use {', '.join(known)}" if known else "trigger the run without parameters"
            raise AirflowFailException(f"unknown parameter {quoted(name)}: {choice}")
    if run.run_id.startswith("-"):
        # The id is an argument of the job.
        raise AirflowFailException(f"the run id {quoted(run.run_id)} begins with '-': trigger the run with another id")
