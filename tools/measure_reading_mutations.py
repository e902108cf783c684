"""Mutations of the rules of reading measures for prove_rules.py."""

from __future__ import annotations

from mutation import Mutation

READERS = "tests/unit/readers/test_measures.py"
PAST = "tests/unit/readers/test_past_commands.py"
SERVICE = "tests/unit/web/test_measures.py"
KLINES = "tests/unit/web/test_klines.py"
PROVISIONAL = "tests/unit/web/test_provisional.py"
ENCODING = "tests/unit/web/test_encoding.py"
PAST_ROUTES = "tests/unit/web/test_past_routes.py"
TIMEFRAMES = "tests/unit/web/test_candles_route.py"
QUERIES = "tests/unit/web/test_candle_data.py"

ON_REQUEST = "measures are read on request only"
REFUSED = "measures of a table that is not extended are refused"
OF_THE_PAST = "measures of the past are refused"
NULL = "measures that are not known are null"
EXACT = "measures are read exactly"

MEASURE_READING_MUTATIONS = (
    Mutation(
        ON_REQUEST,
        "every reader reads them",
        "include/ohlcv/readers/scans.py",
        "(MEASURE_COLUMNS if measures else ())",
        '(MEASURE_COLUMNS if "quote_volume" in found.names else ())',
        (f"{READERS}::test_measures_are_read_only_if_they_are_wanted",),
    ),
    Mutation(
        ON_REQUEST,
        "every request decodes them",
        "include/ohlcv/web/table_index.py",
        "replace(self, schema=self.extended_schema) if measures else self",
        "replace(self, schema=self.extended_schema) if self.extended_schema else self",
        (f"{SERVICE}::TestData::test_only_a_request_for_measures_decodes_them",),
    ),
    Mutation(
        ON_REQUEST,
        "a request for measures gets cached rows without them",
        "include/ohlcv/web/table_index.py",
        "        return self.schema_id, self.schema is self.extended_schema\n",
        "        return self.schema_id, False\n",
        (f"{SERVICE}::TestData::test_only_a_request_for_measures_decodes_them",),
    ),
    Mutation(
        ON_REQUEST,
        "the page does not know which tables have them",
        "include/ohlcv/web/routes_catalog.py",
        '"measures": index is not None and index.extended_schema is not None,',
        '"measures": False,',
        (f"{TIMEFRAMES}::test_a_timeframe_names_whether_its_candles_have_measures",),
    ),
    Mutation(
        REFUSED,
        "the reader returns the candles without them",
        "include/ohlcv/readers/candles.py",
        "        raise missing_measures(contract.name, timeframe.name)\n",
        "        measures = False\n",
        (f"{READERS}::test_a_table_that_is_not_extended_is_refused",),
    ),
    Mutation(
        REFUSED,
        "the service answers without them",
        "include/ohlcv/web/data.py",
        "            raise missing_measures(self._names.candle_table(timeframe)[-1], timeframe)\n",
        "            return index\n",
        (f"{SERVICE}::TestData::test_a_table_is_refused_until_it_is_extended",),
    ),
    Mutation(
        REFUSED,
        "the line does not name the command",
        "include/ohlcv/model/measures.py",
        "run 'ohlcv tables extend --timeframe {timeframe}'",
        "extend it",
        (f"{READERS}::test_a_table_that_is_not_extended_is_refused",),
    ),
    Mutation(
        OF_THE_PAST,
        "the Python API leaves them out",
        "include/ohlcv/readers/python_api.py",
        '(("fill", fill is not None), ("measures", measures))',
        '(("fill", fill is not None),)',
        (f"{READERS}::test_the_python_api_refuses_measures_of_the_past",),
    ),
    Mutation(
        OF_THE_PAST,
        "the command leaves them out",
        "include/ohlcv/cli/candles.py",
        "    if given and measures:\n",
        "    if False:\n",
        (f"{PAST}",),
    ),
    Mutation(
        OF_THE_PAST,
        "the service leaves them out",
        "include/ohlcv/web/parameters.py",
        '(past and measures, "as_of',
        '(False, "as_of',
        (f"{PAST_ROUTES}",),
    ),
    Mutation(
        NULL,
        "filled windows repeat those of the candle before",
        "include/ohlcv/readers/candles.py",
        '        **dict.fromkeys(MEASURES, "NULL"),\n',
        "",
        (f"{READERS}::test_filled_windows_have_no_measures",),
    ),
    Mutation(
        NULL,
        "an unknown value of klines is 0",
        "include/ohlcv/web/klines.py",
        "*(json_texts(columns[name]) for name in _MEASURES),",
        "*(pc.replace_with_mask(t := json_texts(columns[name]), pc.equal(t, 'null'), '\"0\"') for name in _MEASURES),",
        (f"{KLINES}::test_unknown_measures_are_null_and_never_zero",),
    ),
    Mutation(
        NULL,
        "provisional candles have none of the columns",
        "include/ohlcv/web/data.py",
        "        index = self._existing_index(timeframe, measures)\n",
        "        index = self._existing_index(timeframe)\n",
        (f"{PROVISIONAL}::test_measures_are_null",),
    ),
    Mutation(
        NULL,
        "a file from before the extension is read as a whole",
        "include/ohlcv/web/file_decoder.py",
        "if stored is None and name in MEASURES]",
        "if stored is None and name in ()]",
        (f"{SERVICE}::TestData::test_a_file_from_before_the_extension_is_read_in_batches",),
    ),
    Mutation(
        EXACT,
        "small quote volumes lose the places after the eighth",
        "include/ohlcv/web/texts.py",
        "    scale = column.type.scale\n",
        "    scale = 8\n",
        (f"{ENCODING}::test_a_quote_volume_has_all_digits",),
    ),
    Mutation(
        EXACT,
        "the columns of two measures are exchanged",
        "include/ohlcv/web/klines.py",
        '"taker_buy_volume", "taker_buy_quote_volume")',
        '"taker_buy_quote_volume", "taker_buy_volume")',
        (f"{KLINES}::test_a_row_has_the_values_of_binance",),
    ),
    Mutation(
        EXACT,
        "the last time of klines is exclusive",
        "include/ohlcv/web/klines.py",
        "time_of(given.end_time) + MICROSECOND",
        "time_of(given.end_time)",
        (f"{KLINES}::test_both_times_are_inclusive",),
    ),
    Mutation(
        EXACT,
        "the close time of klines is the end of the window",
        "include/ohlcv/web/klines.py",
        'pc.subtract(milliseconds(columns["window_end"]), 1)',
        'milliseconds(columns["window_end"])',
        (f"{KLINES}::test_a_row_has_the_values_of_binance",),
    ),
    Mutation(
        EXACT,
        "the service has them in another order",
        "include/ohlcv/web/table_index.py",
        "(name, arrow.field(name).type) for name in MEASURES)])",
        "(name, arrow.field(name).type) for name in sorted(MEASURES))])",
        (f"{QUERIES}::test_every_query_equals_the_candle_reader",),
    ),
)
