"""Views over the candle tables of all timeframes, in Spark SQL."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from ohlcv.model.table_contracts import CANDLE_COLUMNS, MEASURE_COLUMNS, MEASURES, WIDE_AMOUNT
from ohlcv.model.table_names import Identifier, TableNames, spark_name


def view_statements(
    catalog: str, names: TableNames, timeframes: Iterable[str], extended: Collection[str]
) -> dict[Identifier, str]:
    """Return the SELECT statement of each view over the tables of the enabled timeframes.

    `extended` are the timeframes whose tables have measures. The views have measures if one of their tables has, with
    nulls for the others. They cast `volume` to the wide type, so they stay valid when one table is widened.
    """
    enabled = list(timeframes)
    has_measures = not set(enabled).isdisjoint(extended)
    columns = ["timeframe", *(column.name for column in CANDLE_COLUMNS), *(MEASURES if has_measures else ())]

    def select_candles(timeframe: str) -> str:
        values = [*_contract_values(), *(_measure_values(timeframe in extended) if has_measures else ())]
        table = spark_name(catalog, names.candle_table(timeframe))
        return f"SELECT '{timeframe}' AS timeframe, {', '.join(values)} FROM {table}"

    selected = ", ".join(columns)
    newest = "row_number() OVER (PARTITION BY timeframe, symbol, exchange ORDER BY window_start DESC)"
    return {
        names.candles_view: " UNION ALL ".join(map(select_candles, enabled)),
        names.latest_view: (
            f"SELECT {selected} FROM (SELECT {selected}, {newest} AS newest "
            f"FROM {spark_name(catalog, names.candles_view)}) WHERE newest = 1"
        ),
    }


def _contract_values() -> Iterator[str]:
    for column in CANDLE_COLUMNS:
        yield f"CAST(volume AS {WIDE_AMOUNT}) AS volume" if column.name == "volume" else column.name


def _measure_values(is_extended: bool) -> Iterator[str]:
    for column in MEASURE_COLUMNS:
        yield column.name if is_extended else f"CAST(NULL AS {column.spark_type}) AS {column.name}"
