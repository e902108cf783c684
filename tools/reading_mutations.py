"""Mutations of the rules of reads of the past for prove_rules.py."""

from __future__ import annotations

from mutation import Mutation

PAST = "tests/unit/readers/test_point_in_time.py"
VINTAGES = "tests/unit/readers/test_vintages.py"
REVISIONS = "tests/unit/readers/test_revisions.py"
RANDOM = "tests/unit/readers/test_random_past.py"
_VERSIONS = "include/ohlcv/readers/versions.py"
_RECORDED = "include/ohlcv/readers/recorded_table.py"
_PAST = "include/ohlcv/readers/point_in_time.py"
_REVISIONS = "include/ohlcv/readers/revisions.py"

READING_MUTATIONS = (
    Mutation(
        "a reader of the past sees what readers saw",
        "insertions by jobs are not undone",
        _VERSIONS,
        "ELSE coalesce(stamp, previous // 4, $base) END AS since,",
        "ELSE coalesce(previous // 4, $base) END AS since,",
        (f"{RANDOM}::test_a_read_returns_what_a_reader_saw_then",),
    ),
    Mutation(
        "a reader of the past sees what readers saw",
        "a candle that the ledger has shown is taken for an insertion by its creation time",
        _VERSIONS,
        "CASE WHEN previous % 4 > 0 THEN previous // 4 ELSE coalesce(stamp,",
        "CASE WHEN false THEN previous // 4 ELSE coalesce(stamp,",
        (f"{PAST}::TestUndoRules::test_a_row_that_a_writer_gave_the_time_of_a_later_publication",),
    ),
    Mutation(
        "a reader of the past sees what readers saw",
        "a candle is inserted by the newest publication of its stamp",
        _VERSIONS,
        "SELECT min(number) FROM publications",
        "SELECT max(number) FROM publications",
        (f"{PAST}::TestUndoRules::test_rows_of_a_snapshot_that_was_published_twice",),
    ),
    Mutation(
        "a reader of the past sees what readers saw",
        "a candle that was deleted exists since its first insertion",
        _VERSIONS,
        "AND number >= coalesce(previous // 4 + 1, 0) AND number < until",
        "AND number < until",
        (f"{PAST}::TestUndoRules::test_a_candle_of_a_stamp_that_was_deleted_in_between",),
    ),
    Mutation(
        "a reader of the past sees what readers saw",
        "keys with a null are not the same key",
        _VERSIONS,
        'f"{{0}}.{name} IS NOT DISTINCT FROM {{1}}.{name}"',
        'f"{{0}}.{name} = {{1}}.{name}"',
        (f"{PAST}::TestUndoRules::test_nulls_are_values_and_keys",),
    ),
    Mutation(
        "a reader of the past sees what readers saw",
        "rows of an unfinished recording are read",
        _VERSIONS,
        'compare(LessThanOrEqual, "publication", min(last, self.checkpoint.number)),',
        'compare(LessThanOrEqual, "publication", last),',
        (f"{PAST}::TestUndoRules::test_rows_of_an_unfinished_recording_are_ignored",),
    ),
    Mutation(
        "a reader of the past sees what readers saw",
        "publications are ordered by their times",
        _VERSIONS,
        "seen = list(accumulate(reversed(times), min))[::-1]",
        "seen = times",
        (f"{PAST}::TestUndoRules::test_the_newest_of_two_publications_with_disordered_clocks",),
    ),
    Mutation(
        "a reader of the past sees what readers saw",
        "what is not recorded yet is not read from the snapshot log",
        _RECORDED,
        "position = max((at for at, each in enumerate(self.entries) if each.visible_at <= moment), default=-1)",
        "position = -1",
        (f"{RANDOM}::test_a_read_returns_what_a_reader_saw_then",),
    ),
    Mutation(
        "unknown states are refused",
        "the state before a lost one is returned",
        _RECORDED,
        "if is_last_known and following is not None and following.after_gap:",
        "if False:",
        (f"{PAST}::TestGaps::test_the_state_before_a_lost_one_is_not_taken_for_it",),
    ),
    Mutation(
        "unknown states are refused",
        "a base that has expired is not noticed",
        _RECORDED,
        "checkpoint.snapshot is None or self.table.snapshot_by_id(checkpoint.snapshot) is not None",
        "True",
        (f"{PAST}::TestGaps::test_states_that_expired_before_they_were_recorded",),
    ),
    Mutation(
        "unknown states are refused",
        "a candidate is read as if readers had seen it",
        _RECORDED,
        "if self.table.snapshot_by_id(snapshot) is not None:",
        "if False:",
        (f"{PAST}::TestSnapshots::test_a_snapshot_that_was_never_published_is_refused",),
    ),
    Mutation(
        "unknown states are refused",
        "a range that retention has deleted later is read",
        _PAST,
        "        if start is not None\n        and start.astimezone(UTC)",
        "        if False and start is not None\n        and start.astimezone(UTC)",
        (f"{PAST}::TestRetention::test_a_range_that_was_deleted_later_is_refused",),
    ),
    Mutation(
        "unknown states are refused",
        "what is left of deleted partitions is returned",
        _VERSIONS,
        "return reduce(_both, outside, everything)",
        "return everything",
        (f"{PAST}::TestRetention::test_without_a_start_deleted_windows_are_left_out",),
    ),
    Mutation(
        "unknown states are refused",
        "a deletion by retention does not end the versions of its candles",
        _VERSIONS,
        "FROM keys JOIN deletions ON window_start >= first_time AND window_start < end_time",
        "FROM keys JOIN deletions ON false",
        (f"{PAST}::TestRetention::test_a_deleted_candle_that_was_built_again_is_new",),
    ),
    Mutation(
        "a vintage has no look-ahead",
        "a vintage shows values that were published later",
        _PAST,
        "AND begun.seen_at <= window_start + $age",
        "AND true",
        (f"{VINTAGES}::test_values_are_those_of_the_age",),
    ),
    Mutation(
        "a vintage has no look-ahead",
        "windows whose vintage is not recorded yet are returned",
        _PAST,
        "WHERE window_start + $age < $known_until",
        "WHERE true",
        (f"{VINTAGES}::test_windows_whose_vintage_is_not_recorded_yet_are_left_out",),
    ),
    Mutation(
        "a vintage has no look-ahead",
        "a vintage before the ledger is read",
        _PAST,
        "if vintage.age is not None and start is not None and start < first_start:",
        "if False:",
        (f"{VINTAGES}::test_a_vintage_before_the_ledger_is_refused",),
    ),
    Mutation(
        "a vintage has no look-ahead",
        "the first vintage is the newest one",
        _PAST,
        "QUALIFY since = min(since)",
        "QUALIFY since = max(since)",
        (f"{RANDOM}::test_the_first_vintage_is_what_was_published_first",),
    ),
    Mutation(
        "a vintage has no look-ahead",
        "a value that replaced an unknown first one counts as first",
        _PAST,
        "if len(unknown):",
        "if False:",
        (f"{VINTAGES}::test_first_values_that_were_replaced_before_the_ledger_are_refused",),
    ),
    Mutation(
        "the feed has every change once",
        "new candles that changed later are missing",
        _REVISIONS,
        "first, OPEN_END if with_stamps else last",
        "first, last",
        (f"{REVISIONS}::TestFeed::test_an_inserted_candle_that_changed_later_has_its_first_values",),
    ),
    Mutation(
        "the feed has every change once",
        "a limit cuts a publication",
        _REVISIONS,
        'return table.filter(pc.field("publication") <= last), last',
        "return table.slice(0, limit), last",
        (f"{REVISIONS}::TestFeed::test_a_limit_ends_after_a_whole_publication",),
    ),
    Mutation(
        "the feed has every change once",
        "publications that were lost are skipped silently",
        _REVISIONS,
        "if since < base and base > 1:",
        "if False:",
        (f"{REVISIONS}::TestInvalidQueries::test_a_number_before_a_gap_is_refused",),
    ),
    Mutation(
        "the newest windows read few partitions",
        "partitions that were filled later are read",
        _VERSIONS,
        "stored = self.stored.partitions(And(condition, early))",
        "stored = self.stored.partitions(condition)",
        (f"{PAST}::TestReads::test_the_newest_windows_read_few_partitions",),
    ),
)
