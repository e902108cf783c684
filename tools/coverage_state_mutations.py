"""Mutations of the rules of the states of the coverage, of notes and of reasons of filled windows."""

from __future__ import annotations

from mutation import Mutation

SEQUENCES = "tests/unit/readers/test_coverage_sequences.py"
STATES = "tests/unit/readers/test_coverage_states.py"
FILLS = "tests/unit/readers/test_fill_reasons.py"
COMMANDS = "tests/unit/cli/test_coverage_commands.py"
ROUTE = "tests/unit/web/test_coverage_route.py"
_JUDGE = "include/ohlcv/readers/coverage_sequences.py"
_STATES = "include/ohlcv/readers/coverage_states.py"
_FILLS = "include/ohlcv/readers/fill_reasons.py"
_NOTES = "include/ohlcv/coverage/notes.py"
_GAPS = "missing source sequences are found within hours and at both boundaries"
_UNKNOWN = "what the numbers do not tell is unknown"
_SILENT = "an hour without trades of an expected series is silent or has no data"
_NOTE = "notes are complete, and show until they are withdrawn"
_FILL = "a filled window has the reason that the coverage tells"

COVERAGE_STATE_MUTATIONS = (
    Mutation(
        _GAPS,
        "numbers missing within an hour are ignored",
        _JUDGE,
        "    inside: int | str = group.inside\n",
        "    inside: int | str = 0\n",
        (SEQUENCES,),
    ),
    Mutation(
        _GAPS,
        "the boundary to the next hour is ignored",
        _JUDGE,
        '(before, "before the hour"), (after, "after the hour"))',
        '(before, "before the hour"))',
        (SEQUENCES,),
    ),
    Mutation(
        _GAPS,
        "hours whose numbers overlap are judged alone",
        _JUDGE,
        "            if row.lowest <= previous.highest:\n",
        "            if False:\n",
        (SEQUENCES,),
    ),
    Mutation(
        _GAPS,
        "a missing number counts in each hour of a group",
        _JUDGE,
        "missing if row is group.rows[0] else 0",
        "missing",
        (SEQUENCES,),
    ),
    Mutation(
        _UNKNOWN,
        "a boundary without a later hour counts as contiguous",
        _JUDGE,
        "        after = LAST if following == FIRST else following",
        "        after = 0 if following == FIRST else following",
        (SEQUENCES,),
    ),
    Mutation(
        _UNKNOWN,
        "numbers that begin again are compared",
        _JUDGE,
        "row.highest < previous.lowest or (earlier is not None and row.lowest <= earlier)",
        "False",
        (SEQUENCES,),
    ),
    Mutation(
        _UNKNOWN,
        "a number in two hours is ignored",
        _JUDGE,
        "    if group.inside < 0 or RESTART in (before, after):\n",
        "    if RESTART in (before, after):\n",
        (SEQUENCES,),
    ),
    Mutation(
        _UNKNOWN,
        "hours that are not counted do not matter at a boundary",
        _JUDGE,
        "    if missing and contains_uncounted(",
        "    if False and contains_uncounted(",
        (SEQUENCES,),
    ),
    Mutation(
        _UNKNOWN,
        "hours that are far apart are compared",
        _JUDGE,
        "        elif row.hour - previous.hour > MAX_DISTANCE:\n",
        "        elif False:\n",
        (SEQUENCES,),
    ),
    Mutation(
        _UNKNOWN,
        "an hour that is not over has a state",
        _STATES,
        "        return hour < self.until and hour not in self.pending\n",
        "        return hour not in self.pending\n",
        (f"{STATES}::TestStates",),
    ),
    Mutation(
        _UNKNOWN,
        "an hour that changed since has a state",
        _STATES,
        "        return hour < self.until and hour not in self.pending\n",
        "        return hour < self.until\n",
        (f"{STATES}::TestStates",),
    ),
    Mutation(
        _UNKNOWN,
        "an expired hour counts as one with trades",
        _STATES,
        'if row is not None and row["source_expired"]:',
        "if False:",
        (f"{STATES}::TestStates",),
    ),
    Mutation(
        _UNKNOWN,
        "rejected trades without a series are silent",
        _STATES,
        "    if row is not None and not (history.exchange and history.symbol):\n",
        "    if False:\n",
        (f"{STATES}::TestStates",),
    ),
    Mutation(
        _SILENT,
        "an exchange without data is silent",
        _STATES,
        '("silent" if hour in history.exchange_hours else "no data")',
        '("silent")',
        (f"{STATES}::TestStates",),
    ),
    Mutation(
        _SILENT,
        "every series is expected forever",
        _STATES,
        "history.exchange_hours.without_data(last + 1, hour) <= _EXPECTED_HOURS",
        "history.exchange_hours.without_data(last + 1, hour) <= CONTEXT_HOURS",
        (f"{STATES}::TestStates",),
    ),
    Mutation(
        _SILENT,
        "time without data of the exchange ends the expectation",
        _STATES,
        "hour - last - history.exchange_hours.without_data(last + 1, hour)",
        "hour - last",
        (f"{STATES}::TestStates",),
    ),
    Mutation(
        _SILENT,
        "an exchange without data is reported forever",
        _STATES,
        " or hour - last > CONTEXT_HOURS:\n",
        ":\n",
        (f"{STATES}::TestStates",),
    ),
    Mutation(
        _SILENT,
        "a delisted series is expected",
        _STATES,
        '    if "delisting" in covering:\n',
        "    if False:\n",
        (f"{STATES}::TestStates",),
    ),
    Mutation(
        _SILENT,
        "a listed series is not expected",
        _STATES,
        '    if "expected" in covering:\n',
        "    if False:\n",
        (f"{STATES}::TestStates",),
    ),
    Mutation(
        _NOTE,
        "a withdrawn note shows",
        "include/ohlcv/readers/coverage.py",
        "        if note.withdrawn_at is None\n        and exchange",
        "        if exchange",
        (f"{STATES}::TestStates",),
    ),
    Mutation(
        _NOTE,
        "a note of an unknown series is recorded",
        _NOTES,
        '        if request.kind != "expected":\n',
        "        if False:\n",
        (f"{COMMANDS}::TestNotes",),
    ),
    Mutation(
        _NOTE,
        "a note may have control characters",
        _NOTES,
        '("Cc", "Cs", "Zl", "Zp")',
        '("Cs",)',
        (f"{COMMANDS}::TestNotes",),
    ),
    Mutation(
        _NOTE,
        "a note is withdrawn twice",
        _NOTES,
        '                if row["withdrawn_at"] is not None:\n',
        "                if False:\n",
        (f"{COMMANDS}::TestNotes",),
    ),
    Mutation(
        _FILL,
        "only the series itself tells whether its exchange has data",
        _FILLS,
        "self._minutes.get(key, 0) | (minutes or 0)",
        "minutes or 0",
        (FILLS,),
    ),
    Mutation(
        _FILL,
        "other minutes of the hour tell that there was data",
        _FILLS,
        "        if length < _HOUR:\n",
        "        if False:\n",
        (FILLS,),
    ),
    Mutation(
        _FILL,
        "hours that are not counted have a reason",
        _FILLS,
        "        if self._counted.lack(first, last):\n",
        "        if False:\n",
        (FILLS,),
    ),
    Mutation(
        _FILL,
        "a note of another series is the reason",
        _FILLS,
        "is_of_series(note, exchange, symbol) and overlaps",
        "overlaps",
        (FILLS,),
    ),
    Mutation(
        _FILL,
        "a note of what is expected is the reason",
        _FILLS,
        "if explains(note) and note.withdrawn_at is None",
        "if note.withdrawn_at is None",
        (FILLS,),
    ),
    Mutation(
        "a series is expected for a week after a trade",
        "trades more than a week before the range are forgotten",
        "include/ohlcv/readers/coverage_states.py",
        "        traded.insert(0, history.last_trade)\n",
        "        pass\n",
        (f"{STATES}::test_random_histories_have_the_states_of_the_model",),
    ),
    Mutation(
        "an answer of the API has a limited size",
        "a long range has as many series as a short one",
        "include/ohlcv/web/coverage.py",
        "min(given.limit or DEFAULT_COVERAGE, max(1, MAX_HOURS // len(found.hours)))",
        "given.limit or DEFAULT_COVERAGE",
        (f"{ROUTE}::test_a_long_range_has_smaller_pages",),
    ),
)
