"""Mutations of the rules about the parameters and dates of runs for prove_rules.py."""

from __future__ import annotations

from mutation import Mutation

INTERVALS = "tests/unit/model/test_intervals.py"
PLANS = "tests/unit/iceberg/test_retention_plan.py"
COMMAND_LINES = "tests/orchestration/test_command_lines.py"
RUNS = "tests/orchestration/test_hostile_runs.py::test_the_first_hostile_runs_of_a_seed"
_INTERVALS = "include/ohlcv/model/intervals.py"
_PARAMETERS = "include/ohlcv/orchestration/parameters.py"

RUN_PARAMETER_MUTATIONS = (
    Mutation(
        "a run with an unknown parameter fails",
        "unknown parameters are ignored",
        _PARAMETERS,
        "if name not in known:",
        "if not name:",
        (f"{COMMAND_LINES}::test_every_task_refuses_unknown_parameters_and_a_run_id_that_looks_like_an_option",),
    ),
    Mutation(
        "a run with an unknown parameter fails",
        "the tasks do not check their run",
        "include/ohlcv/orchestration/default_arguments.py",
        '    "pre_execute": check_run_arguments,\n',
        '    "pre_execute": lambda _: check_run_arguments,\n',
        (RUNS,),
    ),
    Mutation(
        "an invalid parameter fails a task without retries",
        "the task is tried again",
        _PARAMETERS,
        "raise AirflowFailException(str(error)) from None",
        "raise ValueError(str(error)) from None",
        (RUNS,),
    ),
    Mutation(
        "a run builds no window that was incomplete when it was due",
        "the data interval of a manual run is not cut",
        _INTERVALS,
        "return requested_range(timeframe, own_range.start, own_range.end, known_until=run_after)",
        "return own_range",
        (f"{INTERVALS}::test_a_run_whose_data_interval_ends_in_the_future_builds_no_incomplete_window",),
    ),
    Mutation(
        "a run builds no window that was incomplete when it was due",
        "a day in the future is reprocessed",
        _INTERVALS,
        "if day >= run_after:",
        "if day > run_after + DAY:",
        (f"{INTERVALS}::test_a_run_whose_data_interval_ends_in_the_future_builds_no_incomplete_window",),
    ),
    Mutation(
        "as of a day in the future no record expires",
        "the day is not checked",
        "include/ohlcv/iceberg/retention_plan.py",
        "    check_as_of(as_of, today)\n    plans = []\n",
        "    plans = []\n",
        (f"{PLANS}::test_as_of_a_day_in_the_future_no_record_expires",),
    ),
    Mutation(
        "the error of an invalid time is one short line",
        "it repeats the whole text",
        "include/ohlcv/model/errors.py",
        "one_line(text[:MAX_QUOTED])",
        "text",
        (f"{INTERVALS}::test_the_error_of_an_invalid_time_is_one_short_line",),
    ),
)
