"""Mutations of the rules of enabled timeframes for prove_rules.py."""

from __future__ import annotations

from mutation import Mutation

SETTINGS = "tests/unit/config/test_enabled_timeframes.py"
FINER = "tests/unit/quality/test_finer_timeframes.py"
COMMANDS = "tests/unit/cli/test_timeframe_options.py"
SERVICE = "tests/unit/web/test_enabled_timeframes.py"
MONITORING = "tests/unit/monitoring/test_enabled_timeframes.py"
DAGS = "tests/orchestration/test_enabled_timeframes.py"
REGISTRY = "tests/unit/model/test_timeframes.py"

SETTING = "OHLCV_TIMEFRAMES enables a subset of the known timeframes"
REFUSAL = "a timeframe that is not enabled is refused in one line"
WORK = "work is done on the enabled timeframes only"
VALIDATION = "validation compares with the longest enabled finer timeframe"
SERVED = "the candle service serves the enabled timeframes only"
CRONS = "the runs of different timeframes are staggered"

TIMEFRAME_MUTATIONS = (
    Mutation(
        SETTING,
        "the order of the variable is kept",
        "include/ohlcv/config/values.py",
        "tuple(each for each in TIMEFRAMES if each in given)",
        "tuple(given)",
        (f"{SETTINGS}::test_enabled_timeframes_are_in_order_of_length",),
    ),
    Mutation(
        SETTING,
        "an unknown timeframe is ignored",
        "include/ohlcv/config/values.py",
        "        if each not in TIMEFRAMES:\n",
        "        if False:\n",
        (f"{SETTINGS}::test_an_unknown_timeframe_is_refused",),
    ),
    Mutation(
        SETTING,
        "a timeframe may be given twice",
        "include/ohlcv/config/values.py",
        "        if given.count(each) > 1:\n",
        "        if False:\n",
        (f"{SETTINGS}::test_a_repeated_timeframe_is_refused",),
    ),
    Mutation(
        SETTING,
        "the contracts contain all known timeframes",
        "include/ohlcv/config/settings.py",
        "contracts(self.names, self.timeframes.values(), self.trades_mapping)",
        "contracts(self.names, TIMEFRAMES.values(), self.trades_mapping)",
        (f"{SETTINGS}::test_enabled_timeframes_are_in_order_of_length",),
    ),
    Mutation(
        SETTING,
        "reprocessing has the tuning of the longest known timeframe",
        "include/ohlcv/config/settings.py",
        "self.tuning[self.enabled[-1]]",
        'self.tuning["1d"]',
        (f"{SETTINGS}::test_reprocessing_has_the_tuning_of_the_longest_enabled_timeframe",),
    ),
    Mutation(
        SETTING,
        "the name of a table of another timeframe is free",
        "include/ohlcv/config/table_names.py",
        "contracts(names, TIMEFRAMES.values())",
        "contracts(names, ())",
        (f"{SETTINGS}::test_every_known_name_of_a_table_is_reserved",),
    ),
    Mutation(
        REFUSAL,
        "every known timeframe is accepted",
        "include/ohlcv/model/timeframes.py",
        "    if get_timeframe(name).name not in enabled:\n",
        "    if get_timeframe(name).name not in TIMEFRAMES:\n",
        (
            f"{SETTINGS}::test_a_timeframe_that_is_not_enabled_is_refused",
            f"{SERVICE}::test_a_timeframe_that_is_not_enabled_is_a_bad_request",
        ),
    ),
    Mutation(
        REFUSAL,
        "options accept every known timeframe",
        "include/ohlcv/cli/options.py",
        "[settings.timeframe(name).name]",
        "[name]",
        (f"{COMMANDS}::test_a_timeframe_that_is_not_enabled_is_one_line_and_writes_nothing",),
    ),
    Mutation(
        REFUSAL,
        "the catalog is opened before the timeframe is checked",
        "include/ohlcv/cli/ledger.py",
        "    names = chosen_timeframes(settings, name)\n    catalog = open_catalog(settings)\n    reports",
        "    catalog = open_catalog(settings)\n    names = chosen_timeframes(settings, name)\n    reports",
        (f"{COMMANDS}::test_a_timeframe_that_is_not_enabled_is_one_line_and_writes_nothing",),
    ),
    Mutation(
        WORK,
        "all means all known timeframes",
        "include/ohlcv/cli/options.py",
        "list(settings.timeframes) if",
        "list(TIMEFRAMES) if",
        (f"{COMMANDS}::test_all_means_the_enabled_timeframes",),
    ),
    Mutation(
        WORK,
        "parameters offer all known timeframes",
        "include/ohlcv/orchestration/parameters.py",
        "list(settings.timeframes)",
        "list(settings.tuning)",
        (f"{DAGS}::test_the_parameter_offers_the_enabled_timeframes_only",),
    ),
    Mutation(
        WORK,
        "there are DAGs of the default timeframes",
        "dags/ohlcv_candles.py",
        "for _timeframe in _settings.timeframes.values():\n",
        "for _timeframe in load_settings({}).timeframes.values():\n",
        (f"{DAGS}::test_there_are_dags_of_the_enabled_timeframes_only",),
    ),
    Mutation(
        WORK,
        "health measures the default timeframes",
        "include/ohlcv/monitoring/health.py",
        "    measurements = []\n    for timeframe in settings.timeframes.values():\n        state",
        "    from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES\n\n    measurements = []\n"
        "    for timeframe in DEFAULT_TIMEFRAMES.values():\n        state",
        (f"{MONITORING}::test_every_measurement_is_of_an_enabled_timeframe",),
    ),
    Mutation(
        WORK,
        "all timeframes have the same priority",
        "include/ohlcv/orchestration/tasks.py",
        "10 * (len(settings.enabled) - settings.enabled.index(timeframe.name))",
        "10 * len(settings.enabled)",
        (f"{DAGS}::test_there_are_dags_of_the_enabled_timeframes_only",),
    ),
    Mutation(
        WORK,
        "incidents of disabled timeframes explain others",
        "include/ohlcv/orchestration/callbacks.py",
        "for timeframe in load_settings().timeframes.values())",
        "for timeframe in TIMEFRAMES.values())",
        (f"{DAGS}::test_only_incidents_of_enabled_timeframes_explain_others",),
    ),
    Mutation(
        WORK,
        "access to the DAG of a disabled timeframe is enough",
        "include/ohlcv/orchestration/candle_access.py",
        "    enabled = load_settings().timeframes\n",
        "    from ohlcv.model.timeframes import TIMEFRAMES as enabled\n",
        (f"{DAGS}::test_a_user_needs_the_dag_of_an_enabled_timeframe",),
    ),
    Mutation(
        WORK,
        "records of disabled timeframes expire",
        "include/ohlcv/config/maintained_tables.py",
        "    every = tuple(settings.timeframes.values())\n",
        "    from ohlcv.model.timeframes import TIMEFRAMES\n    every = tuple(TIMEFRAMES.values())\n",
        (f"{SETTINGS}::test_what_is_recorded_of_other_timeframes_is_kept",),
    ),
    Mutation(
        WORK,
        "the doctor expects no DAG",
        "include/ohlcv/monitoring/doctor.py",
        "for timeframe in settings.timeframes.values() if timeframe.dag_id not in dags]",
        "for timeframe in () if timeframe.dag_id not in dags]",
        (f"{MONITORING}::test_the_dags_of_the_enabled_timeframes_must_exist",),
    ),
    Mutation(
        VALIDATION,
        "the shortest finer timeframe is compared",
        "include/ohlcv/quality/validator.py",
        "return max(dividing, key=lambda each: each.length, default=None)",
        "return min(dividing, key=lambda each: each.length, default=None)",
        (f"{FINER}::test_the_finer_table_is_the_longest_enabled_one_that_divides_the_windows_in_every_subset",),
    ),
    Mutation(
        VALIDATION,
        "windows of the finer timeframe need not divide those of the longer one",
        "include/ohlcv/quality/validator.py",
        " and not timeframe.length % each.length]",
        "]",
        (f"{FINER}::test_a_longer_timeframe_that_does_not_divide_the_windows_is_not_the_finer_one",),
    ),
    Mutation(
        VALIDATION,
        "finer timeframes that are not enabled are compared",
        "include/ohlcv/quality/validator.py",
        "    finer = next_finer(settings.timeframes.values(), timeframe)\n",
        "    from ohlcv.model.timeframes import TIMEFRAMES\n    finer = next_finer(TIMEFRAMES.values(), timeframe)\n",
        (f"{FINER}::test_validation_reads_the_table_of_the_enabled_finer_timeframe",),
    ),
    Mutation(
        SERVED,
        "a token reads all known timeframes",
        "include/ohlcv/web/app.py",
        "Access(create_routes(service), api, service.settings.enabled)",
        "Access(create_routes(service), api, tuple(service.settings.tuning))",
        (f"{SERVICE}::test_the_enabled_timeframes_are_listed_and_the_schema_has_all_known_ones",),
    ),
    Mutation(
        SERVED,
        "the schema has the default timeframes only",
        "include/ohlcv/web/parameters.py",
        '"enum": [*TIMEFRAMES]',
        '"enum": ["1m", "5m", "30m", "1h", "1d"]',
        (f"{SERVICE}::test_the_enabled_timeframes_are_listed_and_the_schema_has_all_known_ones",),
    ),
    Mutation(
        SERVED,
        "provisional candles of hours need the table of 1h",
        "include/ohlcv/web/data.py",
        "            hourly | self._readers,\n",
        "            self._readers,\n",
        (f"{SERVICE}::test_provisional_candles_of_hours_need_no_table_of_one_hour",),
    ),
    Mutation(
        CRONS,
        "2h is due together with 5m",
        "include/ohlcv/model/timeframes.py",
        'cron="27 */2 * * *"',
        'cron="20 */2 * * *"',
        (f"{REGISTRY}::test_crons_run_once_a_window_or_more_often_and_no_two_short_ones_together",),
    ),
)
