"""Mutations of the operational rules of coverage and reconciliation for prove_rules.py."""

from __future__ import annotations

from mutation import Mutation

MAINTENANCE = "tests/spark/test_record_maintenance.py"
PLANS = "tests/unit/iceberg/test_retention_plan.py"
COMMANDS = "tests/unit/cli/test_maintenance_commands.py"
TASKS = "tests/orchestration/test_ledger_tasks.py"
COMMAND_LINES = "tests/orchestration/test_command_lines.py"
CHECKS = "tests/unit/monitoring/test_coverage_check.py"
INCIDENTS = "tests/orchestration/test_incidents.py"
RECONCILIATION = "tests/orchestration/test_reconcile_tasks.py"
_TABLES = "include/ohlcv/config/maintained_tables.py"
_PLAN = "include/ohlcv/iceberg/retention_plan.py"
_CHECK = "include/ohlcv/monitoring/coverage_check.py"
_ALERTS = "include/ohlcv/orchestration/health_alerts.py"
_TASK = "include/ohlcv/orchestration/reconcile_tasks.py"

COVERAGE_OPERATION_MUTATIONS = (
    Mutation(
        "the coverage is retained as the candles of the longest retention",
        "it is retained as those of the shortest",
        _TABLES,
        "longest = min(explained",
        "longest = max(explained",
        (f"{PLANS}::test_days_of_the_coverage_expire_with_the_last_candles_of_the_longest_retention",),
    ),
    Mutation(
        "the coverage is retained as the candles of the longest retention",
        "the settings of the retention are ignored",
        "include/ohlcv/config/settings.py",
        "return [_with_retention(timeframe, self.tuning[name]) for name, timeframe in TIMEFRAMES.items()]",
        "return list(TIMEFRAMES.values())",
        (f"{PLANS}::test_a_longer_retention_of_another_timeframe_keeps_the_coverage",),
    ),
    Mutation(
        "the coverage is retained as the candles of the longest retention",
        "its days are deleted while a candle of their month remains",
        _TABLES,
        "min(each.cutoff(as_of) for each",
        "min(each.retention.cutoff(as_of) for each",
        (f"{PLANS}::test_days_of_the_coverage_expire_with_the_last_candles_of_the_longest_retention",),
    ),
    Mutation(
        "notes on the coverage are never deleted",
        "they expire with the longest retention",
        _TABLES,
        "settings.coverage_notes_contract, (), ",
        "settings.coverage_notes_contract, every[-1:], ",
        (f"{PLANS}::test_notes_never_expire",),
    ),
    Mutation(
        "record tables that an earlier version has not created are left out",
        "the plan reads them",
        _PLAN,
        "for table in tables if table not in missing)",
        "for table in tables)",
        (f"{COMMANDS}::test_without_a_record_table_expired_candles_are_planned",),
    ),
    Mutation(
        "record tables that an earlier version has not created are left out",
        "their jobs are submitted",
        "include/ohlcv/orchestration/tasks.py",
        '        if not arguments[arguments.index("--as-of") + 1]:\n',
        "        if False:\n",
        (f"{COMMAND_LINES}::test_the_job_of_a_record_table_that_does_not_exist_is_skipped",),
    ),
    Mutation(
        "record tables that an earlier version has not created are left out",
        "health checks read them",
        "include/ohlcv/monitoring/health.py",
        "        if contract.identifier in known\n",
        "        if True\n",
        (f"{CHECKS}::test_health_works_before_an_upgrade_has_created_the_tables",),
    ),
    Mutation(
        "maintenance keeps the rows and the newest day of the coverage",
        "only closed days are merged",
        "spark_jobs/jobs/table_maintenance.py",
        "    if not target.is_record:\n",
        "    if target.name != 'revisions':\n",
        (f"{MAINTENANCE}::test_maintenance_keeps_the_rows_and_the_checkpoint_of_the_coverage",),
    ),
    Mutation(
        "a coverage that is behind is in alert",
        "its age has no limit",
        _CHECK,
        '"alert" if age > LIMIT else "ok"',
        '"ok"',
        (f"{CHECKS}::test_a_coverage_is_behind_when_two_runs_are_missed",),
    ),
    Mutation(
        "an exchange without data is in alert while another has some",
        "it is in alert when no exchange has any",
        _CHECK,
        "is_known=is_current and bool(have_data)",
        "is_known=is_current",
        (f"{CHECKS}::test_an_exchange_without_data_is_in_alert_only_while_another_has_some",),
    ),
    Mutation(
        "an exchange without data is in alert while another has some",
        "rejected trades are data",
        _CHECK,
        'compare(GreaterThan, "accepted", 0)',
        'compare(GreaterThanOrEqual, "accepted", 0)',
        (f"{CHECKS}::test_rejected_trades_are_no_data",),
    ),
    Mutation(
        "an exchange without data is in alert while another has some",
        "an old coverage decides",
        _CHECK,
        'is_current=state == "ok"',
        "is_current=True",
        (f"{CHECKS}::test_pending_hours_and_an_old_coverage_prove_nothing",),
    ),
    Mutation(
        "an exchange without data is in alert while another has some",
        "a pending hour decides",
        _CHECK,
        "    while newest in pending:\n",
        "    while False:\n",
        (f"{CHECKS}::test_pending_hours_and_an_old_coverage_prove_nothing",),
    ),
    Mutation(
        "a note on the whole exchange explains missing data",
        "a withdrawn note explains it",
        "include/ohlcv/readers/coverage_notes.py",
        "if with_withdrawn or note.withdrawn_at is None",
        "if True",
        (f"{CHECKS}::test_a_note_on_the_whole_exchange_explains_missing_data",),
    ),
    Mutation(
        "a note on the whole exchange explains missing data",
        "a note on a symbol explains it",
        _CHECK,
        "note.symbol is None and ",
        "",
        (f"{CHECKS}::test_a_note_on_the_whole_exchange_explains_missing_data",),
    ),
    Mutation(
        "a note on the whole exchange explains missing data",
        "a note on another time explains it",
        _CHECK,
        " and covers_hour(note, hour)",
        "",
        (f"{CHECKS}::test_a_note_on_the_whole_exchange_explains_missing_data",),
    ),
    Mutation(
        "missing data is one incident per exchange",
        "all exchanges have one incident",
        _ALERTS,
        'OWN_ASPECTS = ("held series", "data")',
        'OWN_ASPECTS = ("held series",)',
        (f"{INCIDENTS}::test_missing_data_has_an_incident_per_exchange_that_ends_with_its_recovery",),
    ),
    Mutation(
        "missing data is one incident per exchange",
        "names are parts of keys as they are",
        "include/ohlcv/orchestration/incidents.py",
        'quote(name, safe=" ")',
        "name",
        (f"{INCIDENTS}::test_missing_data_has_an_incident_per_exchange_that_ends_with_its_recovery",),
    ),
    Mutation(
        "a coverage that is behind is explained by failing runs of its DAG",
        "it is notified too",
        _ALERTS,
        ', "coverage": COVERAGE_DAG}',
        "}",
        (f"{INCIDENTS}::test_a_coverage_that_is_behind_is_explained_only_by_failing_runs_of_its_dag",),
    ),
    Mutation(
        "differences from published candles are notified once per series",
        "a clean run does not end the incident",
        _TASK,
        "    close_incident(key, recovery)\n",
        "    _ = recovery\n",
        (f"{RECONCILIATION}::test_differences_are_notified_once_until_a_clean_run",),
    ),
    Mutation(
        "differences from published candles are notified once per series",
        "differences are only logged",
        _TASK,
        "            update_incident(found, context)\n",
        "            pass\n",
        (f"{RECONCILIATION}::test_differences_are_notified_once_until_a_clean_run",),
    ),
    Mutation(
        "a file that cannot be read fails the task after the others",
        "it is only logged",
        _TASK,
        "        if report.errors:\n",
        "        if False:\n",
        (f"{RECONCILIATION}::test_a_file_that_cannot_be_read_fails_the_task_after_the_others",),
    ),
)
