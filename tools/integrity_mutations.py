"""Mutations of the rules about damaged files, lost locks and times of commits for prove_rules.py."""

from __future__ import annotations

from mutation import Mutation

CHECK = "tests/unit/integrity/test_check.py"
CHECKSUM_FILES = "tests/unit/integrity/test_checksum_files.py"
REPAIR = "tests/unit/integrity/test_repair.py"
RESTORATION = "tests/unit/integrity/test_restoration.py"
FILE_LOCK = "tests/unit/iceberg/test_file_lock.py"
COMMIT_TIMES = "tests/unit/iceberg/test_commit_times.py"
FILE_IO = "tests/unit/iceberg/test_file_io.py"
_CONTENT = "include/ohlcv/integrity/data_files.py"
_CHECKSUM_FILES = "include/ohlcv/integrity/checksum_files.py"
_REPAIR = "include/ohlcv/integrity/repair.py"
_RESTORATION = "include/ohlcv/integrity/restoration.py"
_FILE_IO = "include/ohlcv/iceberg/file_io.py"
_LOCK = "include/ohlcv/iceberg/file_lock.py"
_TIMES = "include/ohlcv/model/commit_times.py"

INTEGRITY_MUTATIONS = (
    Mutation(
        "a changed bit is found",
        "checksums of pages are not compared by ohlcv fsck",
        _CONTENT,
        "page_checksum_verification=True, buffer_size",
        "page_checksum_verification=False, buffer_size",
        (f"{CHECK}::test_a_changed_value_is_found",),
    ),
    Mutation(
        "a changed bit is found",
        "readers do not compare the checksums of pages",
        _FILE_IO,
        '{"page_checksum_verification": True} if',
        "{} if",
        (f"{CHECK}::test_a_changed_value_is_an_error_of_every_reader",),
    ),
    Mutation(
        "a changed bit is found",
        "the loader writes no checksums",
        _FILE_IO,
        '"write_page_checksum": True}',
        '"write_page_checksum": False}',
        (f"{CHECK}::test_intact_tables_are_read_completely",),
    ),
    Mutation(
        "a changed bit is found",
        "checksum files are not compared",
        _CHECKSUM_FILES,
        "_checksums(file, length) != expected",
        "len(_checksums(file, length)) != len(expected)",
        (f"{CHECKSUM_FILES}::test_every_changed_bit_is_found",),
    ),
    Mutation(
        "a repair loses nothing that can be rebuilt",
        "the hours of dropped candles do not become pending",
        _REPAIR,
        "checkpoint.pending_hours | _past_hours(planned.ranges)",
        "checkpoint.pending_hours",
        (f"{REPAIR}::test_a_damaged_candle_file_is_dropped_and_its_hours_become_pending",),
    ),
    Mutation(
        "a repair loses nothing that can be rebuilt",
        "of trades only the damaged file is dropped",
        _REPAIR,
        'if checked.role == "trades":',
        'if checked.role == "none":',
        (f"{REPAIR}::test_of_trades_the_whole_hour_is_dropped_and_can_be_loaded_again",),
    ),
    Mutation(
        "a repair loses nothing that can be rebuilt",
        "a repair ignores that the table has changed",
        _REPAIR,
        "if file.file_path not in present]:",
        "if file.file_path in ()]:",
        (f"{REPAIR}::test_a_table_that_changes_meanwhile_is_not_repaired",),
    ),
    Mutation(
        "a restored state is complete",
        "data files of a state are not checked",
        _RESTORATION,
        "                    check_size(table.io, file.file_path, file.file_size_in_bytes)\n",
        "",
        (f"{RESTORATION}::test_the_state_before_a_damaged_commit_is_restored_and_loading_again_completes_it",),
    ),
    Mutation(
        "a restored state is complete",
        "the newest readable metadata file is taken",
        _RESTORATION,
        "if problem := checks.find_problem(table) or find_time_problem(table, str(contract)):",
        "if problem := find_time_problem(table, str(contract)):",
        (f"{RESTORATION}::test_several_damaged_commits_are_given_up_together",),
    ),
    Mutation(
        "a restored state is complete",
        "a state with commits out of order is taken",
        _RESTORATION,
        "checks.find_problem(table) or find_time_problem(table, str(contract)):",
        "checks.find_problem(table):",
        (f"{COMMIT_TIMES}::test_a_table_with_commits_out_of_order_is_restored_to_the_state_before_them",),
    ),
    Mutation(
        "a restored state is complete",
        "files of failed commits are states",
        _RESTORATION,
        "                yield entry.metadata_file, *_open(settings, entry.metadata_file)\n            return\n",
        "                yield entry.metadata_file, *_open(settings, entry.metadata_file)\n",
        (f"{RESTORATION}::test_a_complete_file_of_a_commit_that_failed_does_not_replace_damaged_states",),
    ),
    Mutation(
        "a restored state is complete",
        "a table that changes meanwhile is set back",
        _RESTORATION,
        ", IcebergTables.metadata_location == found.current)",
        ")",
        (f"{RESTORATION}::test_a_table_that_changes_meanwhile_is_not_set_back",),
    ),
    Mutation(
        "a restored state is complete",
        "publications that are lost are not named",
        _RESTORATION,
        "if entry.snapshot_id not in known:",
        "if entry.snapshot_id in known:",
        (f"{RESTORATION}::test_a_readable_commit_that_is_lost_is_named",),
    ),
    Mutation(
        "files are on the disk before the commit that names them",
        "files are not synced",
        _FILE_IO,
        "            os.fsync(self.fileno())\n",
        "            pass\n",
        (f"{FILE_IO}::test_every_file_of_a_load_and_its_folder_are_synced_before_its_commit",),
    ),
    Mutation(
        "files are on the disk before the commit that names them",
        "folders are not synced",
        _FILE_IO,
        "            _sync_folder(folder)\n",
        "            pass\n",
        (f"{FILE_IO}::test_every_file_of_a_load_and_its_folder_are_synced_before_its_commit",),
    ),
    Mutation(
        "a lost lock is noticed",
        "a replaced lock file counts",
        _LOCK,
        "return None if os.path.samestat(own, current) else",
        "return None if own and current else",
        (f"{FILE_LOCK}::test_a_lock_whose_file_was_deleted_is_lost_and_the_next_writer_gets_a_new_one",),
    ),
    Mutation(
        "a lost lock is noticed",
        "a file that was deleted before it was locked counts",
        _LOCK,
        "            if self.find_loss() is None:\n                file.truncate(0)",
        "            if True:\n                file.truncate(0)",
        (f"{FILE_LOCK}::test_a_file_that_is_deleted_while_it_is_locked_is_not_used",),
    ),
    Mutation(
        "commits are in the order of their times",
        "a clock behind the newest commit commits",
        _TIMES,
        "if updated <= now + TOLERANCE_MILLISECONDS:",
        "if updated:",
        (f"{COMMIT_TIMES}::test_a_machine_whose_clock_is_behind_commits_nothing",),
    ),
)
