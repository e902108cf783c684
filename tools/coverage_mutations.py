"""Mutations of the rules of the coverage for prove_rules.py."""

from __future__ import annotations

from mutation import Mutation

_COUNTING = "include/ohlcv/coverage/counting.py"
_RECORDING = "include/ohlcv/coverage/recording.py"
_FILES = "include/ohlcv/coverage/trade_files.py"
_TESTS = "tests/unit/coverage/test_recording.py"
_COUNTS = "tests/unit/coverage/test_counting.py"
_COMMITS = "tests/unit/coverage/test_commits.py"
_RANDOM = "tests/unit/coverage/test_random_deliveries.py"
_RECOUNT = (f"{_RANDOM}::test_the_coverage_equals_a_recount[0]",)
_MAPPED = (f"{_RANDOM}::test_the_coverage_of_a_mapped_table_equals_a_recount",)
_JUDGED = "each delivery has one verdict"
_HOURS = "changed and pending hours are counted"
_STORED = "only what changed is stored, in one commit"

RECORDING_OF_COVERAGE = (
    Mutation(
        _JUDGED,
        "a trade without a trade id has no identity",
        _COUNTING,
        "trade_id IS NULL AND message_id IS NULL",
        "trade_id IS NULL",
        _RECOUNT,
    ),
    Mutation(_JUDGED, "a price of zero is valid", _COUNTING, "price IS NULL OR price <= 0", "price IS NULL", _RECOUNT),
    Mutation(
        _JUDGED,
        "a missing quantity is valid",
        _COUNTING,
        "quantity IS NULL OR quantity <= 0",
        "quantity <= 0",
        _RECOUNT,
    ),
    Mutation(
        _JUDGED,
        "a timestamp outside the hour is valid",
        _COUNTING,
        'f"{hour} <> hour_number"',
        'f"{hour} > hour_number"',
        _RECOUNT,
    ),
    Mutation(
        _JUDGED,
        "a correction of the time is a duplicate",
        _COUNTING,
        'WHEN "timestamp" = accepted_timestamp AND price',
        "WHEN price",
        (f"{_COUNTS}::test_a_correction_moves_a_trade_to_another_minute",),
    ),
    Mutation(
        _JUDGED,
        "superseded versions are accepted",
        _COUNTING,
        "FROM verdicts WHERE verdict = 'accepted'",
        "FROM verdicts",
        _RECOUNT,
    ),
    Mutation(_JUDGED, "two versions are two trades", _COUNTING, "HAVING count(*) > 1", "HAVING count(*) > 2", _RECOUNT),
    Mutation(
        _JUDGED,
        "trades of the same hash are the same trade",
        _COUNTING,
        "FROM versions WINDOW versions AS ({VERSIONS})",
        'FROM versions WINDOW versions AS (PARTITION BY 1 ORDER BY "timestamp")',
        (f"{_COUNTS}::test_trades_whose_identities_have_the_same_hash_are_different_trades",),
    ),
    Mutation(
        _JUDGED,
        "rows without identities are versions of one trade",
        _COUNTING,
        "if not trades.mapping.every_row:",
        "if True:",
        _MAPPED,
    ),
    Mutation(
        _JUDGED,
        "message ids are ignored",
        _FILES,
        ".get(number) == 0 for task",
        ".get(number) != -1 for task",
        _RECOUNT,
    ),
    Mutation(
        _JUDGED,
        "rejected deliveries without an exchange are lost",
        _COUNTING,
        "ON cells.exchange = coalesce(trades.exchange, '')",
        "ON cells.exchange = trades.exchange",
        (f"{_COUNTS}::test_rejected_deliveries_without_a_series_are_counted_under_an_empty_one",),
    ),
    Mutation(
        _JUDGED,
        "a delivery whose partition is no hour is counted in the next day",
        _COUNTING,
        'f"exchange_hour BETWEEN 0 AND {HOURS_PER_DAY - 1}" if trades.mapping.has_hours else "true"',
        '"true"',
        (f"{_TESTS}::test_files_of_an_older_partition_spec_may_have_several_hours",),
    ),
    Mutation(
        "facts of an hour",
        "sequences of rejected deliveries count",
        _COUNTING,
        "count(DISTINCT source_sequence) AS sequences FROM deliveries WHERE reason = {_VALID} GROUP",
        "count(DISTINCT source_sequence) AS sequences FROM deliveries GROUP",
        (f"{_COUNTS}::test_a_rejected_version_replaces_no_trade",),
    ),
    Mutation(
        "facts of an hour",
        "the last delivery of a trade decides its delay",
        _COUNTING,
        "        min(ingestion_timestamp) OVER (",
        "        max(ingestion_timestamp) OVER (",
        (f"{_COUNTS}::test_a_correction_moves_a_trade_to_another_minute",),
    ),
    Mutation(
        "facts of an hour",
        "a bound of a delay is exclusive",
        _COUNTING,
        "WHEN ingestion_timestamp <= ",
        "WHEN ingestion_timestamp < ",
        _RECOUNT,
    ),
    Mutation(
        "facts of an hour",
        "the bits of minutes begin with one",
        _COUNTING,
        "1::BIGINT << CAST",
        "2::BIGINT << CAST",
        (f"{_COUNTS}::test_the_last_minute_of_the_hour_is_the_highest_bit",),
    ),
    Mutation(
        _HOURS,
        "every hour is counted in each recording",
        _RECORDING,
        "        return self._hours_of(changed.added + changed.removed)\n",
        "        return self._all_hours()\n",
        (f"{_TESTS}::test_only_hours_whose_files_changed_are_counted",),
    ),
    Mutation(
        _HOURS,
        "hours of removed files are not counted",
        _RECORDING,
        "changed.added + changed.removed",
        "changed.added",
        (f"{_TESTS}::test_an_hour_without_deliveries_keeps_its_rows_as_expired",),
    ),
    Mutation(
        _HOURS,
        "hours of before are forgotten after the checkpoint has expired",
        _RECORDING,
        '            hours = {hour_number(each) for batch in batches for each in batch["hour"].unique().to_pylist()}\n',
        "            hours: set[int] = set()\n",
        (f"{_TESTS}::test_every_hour_is_counted_again_after_the_checkpoint_has_expired",),
    ),
    Mutation(
        _HOURS,
        "a catalog without old snapshots counts every hour again",
        _RECORDING,
        "if self._settings.catalog.has_lock:",
        "if True:",
        (f"{_COMMITS}::test_a_catalog_that_shows_only_the_newest_snapshot_is_compared_by_its_metadata",),
    ),
    Mutation(
        _HOURS,
        "older hours are counted first",
        _RECORDING,
        "in days), reverse=True)",
        "in days))",
        (f"{_TESTS}::test_newer_hours_are_counted_first_and_the_others_are_pending",),
    ),
    Mutation(
        _HOURS,
        "hours that exceed the limit are forgotten",
        _RECORDING,
        "format_hours(pending)",
        '""',
        (f"{_TESTS}::test_newer_hours_are_counted_first_and_the_others_are_pending",),
    ),
    Mutation(
        _HOURS,
        "hours that have not begun are counted",
        _RECORDING,
        "if hour <= hour_number(self._now)",
        "if hour",
        (f"{_TESTS}::test_hours_that_have_not_begun_are_pending",),
    ),
    Mutation(
        _STORED,
        "an hour without deliveries loses its rows",
        _RECORDING,
        "WHERE hour IN (SELECT hour FROM chosen) AND hour NOT IN (SELECT hour FROM counted)",
        "WHERE false",
        (f"{_TESTS}::test_an_hour_without_deliveries_keeps_its_rows_as_expired",),
    ),
    Mutation(
        _STORED,
        "an hour without deliveries does not say so",
        _RECORDING,
        "SELECT * REPLACE (true AS source_expired) FROM stored",
        "SELECT * FROM stored",
        (f"{_TESTS}::test_an_hour_without_deliveries_keeps_its_rows_as_expired",),
    ),
    Mutation(
        _STORED,
        "a series without deliveries keeps its row",
        _RECORDING,
        "WHERE hour NOT IN (SELECT hour FROM chosen)\n",
        "WHERE hour NOT IN (SELECT hour FROM chosen) OR (exchange, symbol) NOT IN "
        "(SELECT (exchange, symbol) FROM counted)\n",
        (f"{_TESTS}::test_a_series_without_deliveries_in_an_hour_that_has_some_has_no_row",),
    ),
    Mutation(
        _STORED,
        "a row gets the snapshot of each recording",
        _RECORDING,
        "coalesce(stored.trades_snapshot, $snapshot)",
        "$snapshot",
        (f"{_TESTS}::test_equal_rows_are_not_rewritten",),
    ),
    Mutation(
        _STORED,
        "every day with a counted hour is rewritten",
        _RECORDING,
        "        return [day for (day,) in connection.execute(_CHANGED_DAYS).fetchall()]\n",
        "        return sorted({hour // HOURS_PER_DAY for hour in hours})\n",
        (f"{_TESTS}::test_equal_rows_are_not_rewritten",),
    ),
    Mutation(
        _STORED,
        "a recording without changes commits",
        _RECORDING,
        "if not changed and all(",
        "if False and all(",
        (f"{_TESTS}::test_a_recording_without_changes_commits_nothing",),
    ),
    Mutation(
        _HOURS,
        "a rollback of the coverage is not noticed",
        _RECORDING,
        "        if self._is_rolled_back():\n",
        "        if False:\n",
        (f"{_TESTS}::test_every_hour_is_counted_again_after_a_rollback_of_the_coverage",),
    ),
    Mutation(
        _HOURS,
        "rows that a rollback left correct are counted in every recording",
        _RECORDING,
        "if self._is_rolled_back() and (current",
        "if False and (current",
        (f"{_TESTS}::test_rows_that_a_rollback_left_correct_are_counted_again_once",),
    ),
    Mutation(
        _STORED,
        "the replaced files stay",
        _RECORDING,
        "[task.file for task in stored if task.file.partition[0] in changed],",
        "[],",
        _RECOUNT,
    ),
)
