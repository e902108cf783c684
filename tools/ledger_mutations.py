"""Mutations of the ledger's rules for prove_rules.py."""

from __future__ import annotations

from mutation import Mutation

MAINTENANCE = "tests/spark/test_record_maintenance.py"
PLANS = "tests/unit/iceberg/test_retention_plan.py"
TASKS = "tests/orchestration/test_ledger_tasks.py"
CHECKS = "tests/unit/monitoring/test_ledger_check.py"

LEDGER_MUTATIONS = (
    Mutation(
        "snapshots that are not recorded are kept for 14 days",
        "expiry ignores the ledger",
        "spark_jobs/jobs/table_maintenance.py",
        "    if maintenance.request.keep_since is not None:\n",
        "    if False:\n",
        (f"{MAINTENANCE}::test_only_expiry_that_ignores_the_ledger_causes_a_gap",),
    ),
    Mutation(
        "snapshots that are not recorded are kept for 14 days",
        "they are kept without a limit",
        "spark_jobs/jobs/table_maintenance.py",
        "max(maintenance.request.keep_since, as_of - UNRECORDED_AGE)",
        "maintenance.request.keep_since",
        (f"{MAINTENANCE}::test_snapshots_that_are_not_recorded_are_kept_for_fourteen_days",),
    ),
    Mutation(
        "whole months of the ledger are deleted with their candles",
        "the months of all timeframes are deleted",
        "spark_jobs/jobs/table_maintenance.py",
        "            if table.has_timeframes:\n",
        "            if False:\n",
        (f"{MAINTENANCE}::test_expired_months_of_a_timeframe_are_deleted_in_a_metadata_only_commit",),
    ),
    Mutation(
        "whole months of the ledger are deleted with their candles",
        "the month of the checkpoint is deleted",
        "include/ohlcv/iceberg/retention_plan.py",
        "        cutoff = min(cutoff, partitions[-1].day)\n",
        "        pass\n",
        (f"{PLANS}::test_the_months_from_the_checkpoint_on_never_expire",),
    ),
    Mutation(
        "whole months of the ledger are deleted with their candles",
        "revisions of stored candles are deleted",
        "include/ohlcv/orchestration/retention_tasks.py",
        " and plan.timeframe not in left",
        "",
        (f"{TASKS}::test_the_plan_of_the_ledger_waits_for_the_deletion_of_the_candles",),
    ),
    Mutation(
        "the ledger is recorded in time, or an alert says so",
        "a failed timeframe ends the recording",
        "include/ohlcv/orchestration/ledger_tasks.py",
        "            continue\n",
        "            break\n",
        (f"{TASKS}::test_a_failure_of_one_timeframe_does_not_stop_the_others",),
    ),
    Mutation(
        "the ledger is recorded in time, or an alert says so",
        "a gap is not notified",
        "include/ohlcv/orchestration/ledger_tasks.py",
        "        update_gap_incident(attempt.report, context)\n",
        "",
        (f"{TASKS}::test_a_gap_is_notified_once_until_the_next_recording",),
    ),
    Mutation(
        "the ledger is recorded in time, or an alert says so",
        "a ledger that cannot be read needs no snapshot",
        "include/ohlcv/ledger/expiry.py",
        "        return EPOCH\n",
        "        return None\n",
        ("tests/unit/cli/test_maintenance_commands.py",),
    ),
    Mutation(
        "the ledger is recorded in time, or an alert says so",
        "a ledger may lag behind for a day",
        "include/ohlcv/monitoring/ledger_check.py",
        "LIMIT = timedelta(hours=2)\n",
        "LIMIT = timedelta(hours=24)\n",
        (f"{CHECKS}::test_a_ledger_is_behind_when_a_publication_missed_its_run",),
    ),
)
