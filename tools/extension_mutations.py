"""Mutations of the rules of extended tables, views and progress for prove_rules.py."""

from __future__ import annotations

from mutation import Mutation

EXTEND = "tests/unit/cli/test_extend_command.py"
VIEWS = "tests/unit/iceberg/test_views.py"
QUERIES = "tests/unit/model/test_views.py"
PROGRESS = "tests/unit/readers/test_table_progress.py"
ADOPTION = "tests/unit/iceberg/test_adoption.py"
DOCTOR = "tests/unit/monitoring/test_doctor.py"
TASKS = "tests/orchestration/test_progress_tasks.py"
DAGS = "tests/orchestration/test_dag_structure.py"
JOB = "tests/spark/test_views.py"

EXTENSION_FILE = "include/ohlcv/iceberg/extension.py"
PROGRESS_FILE = "include/ohlcv/readers/table_progress.py"

EXTENSION_MUTATIONS = (
    Mutation(
        "a table is extended once, under its write lock",
        "the table of a running job is extended",
        EXTENSION_FILE,
        "        with write_lock(settings, contract) as assert_lock_held:\n            assert_lock_held()\n",
        "        if True:\n",
        (f"{EXTEND}::test_a_table_is_extended_under_its_write_lock",),
    ),
    Mutation(
        "a table is extended once, under its write lock",
        "a second extension succeeds",
        EXTENSION_FILE,
        "    if not missing:\n",
        "    if False:\n",
        (f"{EXTEND}::test_a_second_extension_writes_nothing",),
    ),
    Mutation(
        "a table is extended once, under its write lock",
        "extended tables stop the extension of the others",
        EXTENSION_FILE,
        "    if not missing:\n",
        "    if result.existing:\n",
        (f"{EXTEND}::test_all_extends_the_tables_that_are_left",),
    ),
    Mutation(
        "a table of a REST catalog is extended",
        "the last column of a schema has no number",
        "include/ohlcv/iceberg/rest_catalog.py",
        "        _number_last_column(request)\n",
        "        pass\n",
        ("tests/unit/iceberg/test_rest_schema.py::test_the_adapter_sends_the_number_of_the_last_column",),
    ),
    Mutation(
        "a table of another program is extended if it has all measures",
        "its measures count as additional columns",
        "include/ohlcv/iceberg/adoption.py",
        "    known = {*contract.column_names, *(column.name for column in contract.extension)}\n",
        "    known = set(contract.column_names)\n",
        (f"{ADOPTION}::test_a_table_of_another_program_with_all_measures_is_an_extended_table",),
    ),
    Mutation(
        "the views have the columns and tables of the settings",
        "tables without measures are read as if they had them",
        "include/ohlcv/model/views.py",
        "*(_measure_values(timeframe in extended) if has_measures else ())",
        "*(_measure_values(True) if has_measures else ())",
        (f"{QUERIES}::test_views_of_an_extended_table_have_measures_and_nulls_for_the_other_tables",),
    ),
    Mutation(
        "the views have the columns and tables of the settings",
        "a timeframe that is not enabled adds measures",
        "include/ohlcv/model/views.py",
        "    has_measures = not set(enabled).isdisjoint(extended)\n",
        "    has_measures = bool(extended)\n",
        (f"{QUERIES}::test_a_timeframe_that_is_not_enabled_gives_the_views_no_measures",),
    ),
    Mutation(
        "outdated views are replaced, and current ones start no job",
        "a view that exists counts as current",
        "include/ohlcv/iceberg/views.py",
        '"current" if stored == select else "outdated"',
        '"current"',
        (f"{VIEWS}::test_views_are_outdated_once_a_table_is_extended",),
    ),
    Mutation(
        "outdated views are replaced, and current ones start no job",
        "an old version of a view is compared",
        "include/ohlcv/iceberg/views.py",
        'if each["version-id"] == metadata["current-version-id"]]',
        'if each["version-id"] == metadata["versions"][0]["version-id"]]',
        (f"{VIEWS}::test_views_are_missing_until_they_are_stored",),
    ),
    Mutation(
        "outdated views are replaced, and current ones start no job",
        "the job replaces every view",
        "spark_jobs/jobs/views.py",
        '        elif not stored.endswith(f"AS\\n{select}"):\n',
        "        else:\n",
        (f"{JOB}::test_views_are_replaced_if_and_only_if_their_tables_or_columns_changed",),
    ),
    Mutation(
        "outdated views are replaced, and current ones start no job",
        "the job starts for current views",
        "include/ohlcv/cli/tables.py",
        "    if not are_views_current(settings):\n",
        "    if True:\n",
        (f"{EXTEND}::test_current_views_start_no_job",),
    ),
    Mutation(
        "the doctor reports outdated views",
        "an outdated view is no warning",
        "include/ohlcv/monitoring/doctor.py",
        'if state == "outdated"]:\n',
        'if state == "unknown"]:\n',
        (f"{DOCTOR}::test_an_outdated_view_is_a_warning_and_a_missing_one_is_none",),
    ),
    Mutation(
        "the progress names exactly the days that a rebuild completes",
        "candles without measures count as built",
        PROGRESS_FILE,
        "found.measured < found.candles\n",
        "found.measured > found.candles\n",
        (f"{PROGRESS}::test_candles_without_measures_are_left_until_every_candle_of_the_day_has_them",),
    ),
    Mutation(
        "the progress names exactly the days that a rebuild completes",
        "one candle makes a day built",
        PROGRESS_FILE,
        "    return candles.first < first_hour_ends and candles.last + table.timeframe.length > last_hour_starts\n",
        "    return True\n",
        (f"{PROGRESS}::test_a_day_whose_candles_begin_later_or_end_earlier_than_its_trades_is_left",),
    ),
    Mutation(
        "the progress names exactly the days that a rebuild completes",
        "days beyond retention are reprocessed",
        PROGRESS_FILE,
        "    with_trades = {day for day in hours_by_day if begin <= day < until}\n",
        "    with_trades = {day for day in hours_by_day if day < until}\n",
        (f"{PROGRESS}::test_days_before_the_retention_of_the_timeframe_are_not_left",),
    ),
    Mutation(
        "the progress names exactly the days that a rebuild completes",
        "a day whose run is not due is reprocessed",
        PROGRESS_FILE,
        "    until = (now - REPROCESS_DELAY).date()\n",
        "    until = now.date()\n",
        (f"{PROGRESS}::test_a_day_is_left_only_when_its_own_run_is_due",),
    ),
    Mutation(
        "the progress names exactly the days that a rebuild completes",
        "candles whose trades have expired are reprocessed for ever",
        PROGRESS_FILE,
        "            (left if _has_trades(table.timeframe, start, trades, hours) else expired).add(start.date())\n",
        "            left.add(start.date())\n",
        (f"{PROGRESS}::test_candles_whose_trades_have_expired_are_not_left",),
    ),
    Mutation(
        "the progress names exactly the days that a rebuild completes",
        "a window with an empty hour counts as expired",
        PROGRESS_FILE,
        "    return bool(counts) and (None in counts or sum(filter(None, counts)) >= trades)\n",
        "    return False\n",
        (f"{PROGRESS}::test_a_window_with_empty_hours_is_left_if_the_trades_of_its_candles_are_there",),
    ),
    Mutation(
        "the progress names exactly the days that a rebuild completes",
        "a file without statistics counts as empty",
        PROGRESS_FILE,
        "                unclear.append(task)\n",
        "                pass\n",
        (f"{PROGRESS}::test_a_file_without_statistics_is_read",),
    ),
    Mutation(
        "the progress is read from metadata",
        "files with measures are read",
        PROGRESS_FILE,
        'if timeframe.partition == "day" else None\n',
        "if False else None\n",
        (f"{PROGRESS}::test_filled_days_are_built_and_no_data_file_is_read",),
    ),
    Mutation(
        "the command of the backfill reprocesses these days and timeframes",
        "all timeframes are reprocessed",
        PROGRESS_FILE,
        '("" if list(names) == list(enabled) else',
        '("" if True else',
        (f"{PROGRESS}::test_a_command_reprocesses_consecutive_days_in_the_timeframes_that_need_them",),
    ),
    Mutation(
        "the command of the backfill reprocesses these days and timeframes",
        "the last day is left out",
        PROGRESS_FILE,
        "--to-date {last + DAY} ",
        "--to-date {last} ",
        (f"{PROGRESS}::test_a_command_reprocesses_consecutive_days_in_the_timeframes_that_need_them",),
    ),
    Mutation(
        "a reprocessing run logs what is left and is not failed by it",
        "an error of the progress fails the run",
        "include/ohlcv/orchestration/progress_tasks.py",
        "        return\n",
        "        raise\n",
        (f"{TASKS}::test_an_error_does_not_fail_the_run",),
    ),
    Mutation(
        "a reprocessing run logs what is left and is not failed by it",
        "a failed day does not fail the run",
        "dags/ohlcv_reprocess.py",
        "        one_day.expand(day=days_task()) >> progress_task()\n",
        "        one_day.expand(day=days_task())\n        progress_task()\n",
        (f"{DAGS}::test_a_reprocessing_run_has_one_job_and_one_validation_per_day",),
    ),
)
