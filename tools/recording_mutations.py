"""Mutations of the rules of the ledger's recording for prove_rules.py."""

from __future__ import annotations

from mutation import Mutation

RECORDING = "tests/unit/ledger/test_recording.py"
CAUSES = "tests/unit/ledger/test_causes.py"
GAPS = "tests/unit/ledger/test_gaps.py"
COMMITS = "tests/unit/ledger/test_commits.py"
_DIFFERENCES = "include/ohlcv/ledger/row_differences.py"
_PUBLICATIONS = "include/ohlcv/ledger/publications.py"
_CAUSES = "include/ohlcv/ledger/causes.py"
_RECORDING = "include/ohlcv/ledger/recording.py"
_LOG = "include/ohlcv/iceberg/snapshot_log.py"
_COMMIT = "include/ohlcv/ledger/ledger_commit.py"

RECORDING_MUTATIONS = (
    Mutation(
        "insertions by a run need no row",
        "every insertion is recorded",
        _DIFFERENCES,
        "FROM counted WHERE NOT stamped OR held_since IS NOT NULL;",
        "FROM counted;",
        (f"{RECORDING}::test_insertions_by_a_job_need_no_row",),
    ),
    Mutation(
        "insertions by a run need no row",
        "a stamp identifies two publications",
        _DIFFERENCES,
        "return None if stamp in stamps else stamp",
        "return stamp",
        (f"{RECORDING}::test_an_insertion_with_the_stamp_of_an_earlier_publication_is_recorded",),
    ),
    Mutation(
        "insertions by a run need no row",
        "insertions by other writers are not recorded",
        _RECORDING,
        "self._stamps if is_job else None,",
        "self._stamps,",
        (f"{RECORDING}::test_insertions_by_another_writer_are_recorded",),
    ),
    Mutation(
        "insertions by a run need no row",
        "a key that is inserted twice is not recorded",
        _DIFFERENCES,
        "before.id IS NULL AND after.copies = 1 AND after.stamped",
        "before.id IS NULL AND after.stamped",
        (f"{RECORDING}::test_a_key_that_a_job_inserts_twice_is_recorded",),
    ),
    Mutation(
        "a key may be stored several times",
        "the other files of a key are not read",
        _DIFFERENCES,
        "        if not ranges:\n            return\n",
        "        return\n",
        (f"{RECORDING}::test_a_key_stored_twice_has_a_row_per_copy",),
    ),
    Mutation(
        "a key may be stored several times",
        "equal copies count once",
        _DIFFERENCES,
        "SELECT {_COLUMNS}, 1 AS _side FROM added UNION ALL SELECT {_COLUMNS}, -1 AS _side FROM removed",
        "SELECT DISTINCT {_COLUMNS}, 1 AS _side FROM added "
        "UNION ALL SELECT DISTINCT {_COLUMNS}, -1 AS _side FROM removed",
        (f"{RECORDING}::test_equal_copies_of_a_key_are_counted",),
    ),
    Mutation(
        "null equals null",
        "a key with null has no rows",
        _DIFFERENCES,
        "keys.symbol IS NOT DISTINCT FROM {rows}.symbol",
        "keys.symbol = {rows}.symbol",
        (f"{RECORDING}::test_a_key_with_null_is_compared",),
    ),
    Mutation(
        "maintenance changes no candle",
        "a compaction is compared",
        _PUBLICATIONS,
        'NOT_COMPARED: tuple[Trigger, ...] = ("maintenance", "retention")',
        'NOT_COMPARED: tuple[Trigger, ...] = ("retention",)',
        (f"{RECORDING}::test_a_compaction_is_recorded_without_a_comparison",),
    ),
    Mutation(
        "maintenance changes no candle",
        "a deletion by retention is a revision",
        _PUBLICATIONS,
        'NOT_COMPARED: tuple[Trigger, ...] = ("maintenance", "retention")',
        'NOT_COMPARED: tuple[Trigger, ...] = ("maintenance",)',
        (f"{RECORDING}::test_retention_is_no_revision",),
    ),
    Mutation(
        "maintenance changes no candle",
        "a deletion by another writer counts as retention",
        _PUBLICATIONS,
        "Operation.DELETE and summary_keys.MAINTENANCE in summary",
        "Operation.DELETE",
        (f"{RECORDING}::test_a_deletion_by_another_writer_is_a_revision",),
    ),
    Mutation(
        "a rollback is compared",
        "a rollback to a compaction counts as maintenance",
        _PUBLICATIONS,
        "if before is not None and after.parent_snapshot_id == before.snapshot_id and after.summary is not None:",
        "if before is not None and after.summary is not None:",
        (f"{RECORDING}::test_maintenance_is_only_that_of_the_publication_before",),
    ),
    Mutation(
        "a rollback is compared",
        "a rollback to before the ledger is a gap",
        _LOG,
        "    if (snapshot.sequence_number or 0) < (before.sequence_number or 0):\n        return True",
        "    if False:\n        return True",
        (f"{RECORDING}::test_a_rollback_to_before_the_ledger_is_no_gap",),
    ),
    Mutation(
        "lost publications are a gap",
        "the entries after lost ones are compared with the checkpoint",
        _LOG,
        "after_gap = not is_known or not _follows(snapshot, before, known, by_id)",
        "after_gap = False",
        (GAPS,),
    ),
    Mutation(
        "lost publications are a gap",
        "an entry that is missing in the middle is not noticed",
        _LOG,
        "    return any(each.snapshot_id in known for each in ancestors(snapshot, by_id))",
        "    return True",
        (f"{GAPS}::test_an_entry_that_is_missing_in_the_middle_of_the_log_is_a_gap",),
    ),
    Mutation(
        "lost publications are a gap",
        "a catalog without history has a gap in every run",
        _LOG,
        "if settings.catalog.has_lock or len(snapshots) != 1 or snapshots[0].parent_snapshot_id is None:",
        "if True:",
        (f"{GAPS}::test_a_catalog_without_history_is_unavailable",),
    ),
    Mutation(
        "a killed recording is completed",
        "the rows of a killed task stay",
        _RECORDING,
        "        tasks = plan(self._revisions, later)\n",
        "        tasks: list[FileScanTask] = []\n",
        (f"{COMMITS}::test_a_killed_recording_is_completed_by_the_next",),
    ),
    Mutation(
        "a killed recording is completed",
        "recorded rows in the file of a killed task are lost",
        _RECORDING,
        "chain((each for each in kept if len(each[1])), self._new_revisions(connection, months)),",
        "chain((), self._new_revisions(connection, months)),",
        (f"{COMMITS}::test_rows_that_a_killed_task_left_are_removed_from_a_compacted_file",),
    ),
    Mutation(
        "two recordings at once lose nothing",
        "a commit is repeated on top of that of another task",
        _COMMIT,
        'table.metadata.properties["commit.retry.num-retries"] = "0"',
        'table.metadata.properties["commit.retry.num-retries"] = "4"',
        (f"{COMMITS}::test_of_two_recordings_without_a_lock_one_fails",),
    ),
    Mutation(
        "a lost reply is found",
        "a commit whose reply was lost is an error",
        _COMMIT,
        "        if found is None:\n            raise\n",
        "        raise\n",
        (f"{COMMITS}::test_a_commit_whose_reply_is_lost_is_found",),
    ),
    Mutation(
        "causes follow the trades",
        "a trade that is delivered again is corrected",
        _CAUSES,
        'old."timestamp" <> new."timestamp"\n',
        'old."timestamp" = new."timestamp"\n',
        (f"{CAUSES}::test_causes_are_the_differences_of_the_trades",),
    ),
    Mutation(
        "causes follow the trades",
        "a trade that moved to another window is corrected",
        _CAUSES,
        "WHEN old_time >= start AND old_time < stop AND new_time >= start AND new_time < stop THEN 'trade corrected'",
        "WHEN old_time >= start OR new_time >= start THEN 'trade corrected'",
        (f"{CAUSES}::test_causes_are_the_differences_of_the_trades",),
    ),
    Mutation(
        "causes follow the trades",
        "invalid trades are a cause",
        _CAUSES,
        "WHERE valid AND file IN ({files})",
        "WHERE file IN ({files})",
        (f"{CAUSES}::test_causes_are_the_differences_of_the_trades",),
    ),
    Mutation(
        "causes follow the trades",
        "the old version is compared with the newest trades before",
        _CAUSES,
        "THEN $previous ELSE coalesce(stamps.snapshot, $first) END",
        "THEN $previous ELSE $previous END",
        (f"{CAUSES}::test_causes_follow_the_snapshot_of_the_replaced_version",),
    ),
    Mutation(
        "causes follow the trades",
        "an old version without a known snapshot has no cause",
        _CAUSES,
        "WHERE is_unknown OR is_assumed AND id NOT IN (SELECT id FROM found)",
        "WHERE is_unknown",
        (f"{CAUSES}::test_the_first_known_snapshot_stands_for_older_versions",),
    ),
    Mutation(
        "candles that were held say so",
        "a series that stays held counts as released",
        _PUBLICATIONS,
        "            if key not in after\n",
        "",
        (f"{CAUSES}::test_a_series_that_stays_held_is_not_released",),
    ),
    Mutation(
        "candles that were held say so",
        "insertions of a held series are not recorded",
        _DIFFERENCES,
        "FROM counted WHERE NOT stamped OR held_since IS NOT NULL;",
        "FROM counted WHERE NOT stamped;",
        (f"{CAUSES}::test_candles_that_were_held_carry_the_time",),
    ),
)
