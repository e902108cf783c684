"""Names of namespace and tables: the settings, and what derives from them."""

from __future__ import annotations

import pytest

from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.errors import InputError
from ohlcv.model.table_names import TableNames, dotted, spark_name


def settings(**values: str) -> Settings:
    return load_settings({"OHLCV_HOME": "/home/x", **{f"OHLCV_{name}": value for name, value in values.items()}})


TABLES = (
    *("1m", "5m", "30m", "1h", "1d"),
    *("publications", "revisions", "coverage", "coverage_notes", "reconciliation"),
)


def names(found: Settings) -> list[str]:
    return [*(str(contract) for contract in found.contracts()), *map(dotted, found.names.views)]


def test_without_settings_the_names_are_those_of_earlier_versions() -> None:
    assert settings(NAMESPACE="", TRADES_TABLE="", CANDLE_TABLES="").names == TableNames()
    assert names(settings()) == [
        "market_data.gold_crypto_trades",
        *(f"market_data.gold_ohlcv_{name}" for name in TABLES),
        "market_data.ohlcv",
        "market_data.ohlcv_latest",
    ]


def test_a_namespace_has_several_levels_and_a_table_may_have_its_own() -> None:
    found = settings(NAMESPACE="lake.crypto-1", TRADES_TABLE="raw.spot.trades", CANDLE_TABLES="{timeframe}_bars")
    assert found.trades_contract.identifier == ("raw", "spot", "trades")
    assert names(found) == [
        "raw.spot.trades",
        *(f"lake.crypto-1.{name}_bars" for name in TABLES),
        "lake.crypto-1.all_bars",
        "lake.crypto-1.latest_bars",
    ]
    assert found.names.namespaces == {("lake", "crypto-1"), ("raw", "spot")}
    assert spark_name("iceberg", found.names.candles_view) == "`iceberg`.`lake`.`crypto-1`.`all_bars`"


@pytest.mark.parametrize(
    "text",
    ["", ".", "a.", ".a", "a..b", "a b", "a'b", 'a"b', "a`b", "a/b", "a\\b", "a?b", "a#b", "a%b", "{timeframe}", "{a}"],
)
@pytest.mark.parametrize("name", ["NAMESPACE", "TRADES_TABLE", "CANDLE_TABLES"])
def test_a_name_that_not_every_client_understands_is_refused_in_one_line(name: str, text: str) -> None:
    value = text if name != "CANDLE_TABLES" else f"{text}.bars_{{timeframe}}"
    if not value:
        return  # an empty value counts as unset
    with pytest.raises(InputError, match=rf"^OHLCV_{name} is '.*': give .*") as caught:
        settings(**{name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["bars", "bars_{Timeframe}", "{timeframe}_{timeframe}", "{timeframe}.bars"])
def test_candle_tables_need_the_timeframe_once_in_their_name(text: str) -> None:
    message = (
        r"^OHLCV_CANDLE_TABLES is '.*': give one name .* \{timeframe\} once in it, such as gold_ohlcv_\{timeframe\}$"
    )
    with pytest.raises(InputError, match=message):
        settings(CANDLE_TABLES=text)


@pytest.mark.parametrize(
    ("values", "repeated"),
    [
        ({"TRADES_TABLE": "Gold_OHLCV_1M"}, "market_data.gold_ohlcv_1m"),
        ({"TRADES_TABLE": "ohlcv"}, "market_data.ohlcv"),
        ({"TRADES_TABLE": "gold_ohlcv_coverage"}, "market_data.gold_ohlcv_coverage"),
        ({"TRADES_TABLE": "x.latest_bars", "CANDLE_TABLES": "x.{timeframe}_bars"}, "x.latest_bars"),
    ],
)
def test_two_tables_of_the_same_name_are_refused(values: dict[str, str], repeated: str) -> None:
    with pytest.raises(InputError, match=f"give the name {repeated} twice: choose different names"):
        settings(**values)


@pytest.mark.parametrize("kind", ["hive", "glue"])
@pytest.mark.parametrize(
    "values", [{"NAMESPACE": "lake.crypto"}, {"CANDLE_TABLES": "Bars_{timeframe}"}, {"TRADES_TABLE": "crypto-trades"}]
)
def test_hive_and_glue_accept_only_plain_names(kind: str, values: dict[str, str]) -> None:
    properties = {"TYPE": kind, "WAREHOUSE": "s3://bucket", **({"URI": "thrift://hms:9083"} if kind == "hive" else {})}
    catalog = {f"PYICEBERG_CATALOG__LAKE__{name}": value for name, value in properties.items()}
    environment = {"OHLCV_HOME": "/home/x", "OHLCV_CATALOG": "lake", **catalog}
    with pytest.raises(InputError, match=rf"is no name for the {kind} catalog: give a namespace of one level"):
        load_settings({**environment, **{f"OHLCV_{name}": value for name, value in values.items()}})
    assert load_settings({**environment, "OHLCV_NAMESPACE": "lake_1"}).trades_contract.namespace == ("lake_1",)


def test_a_name_is_at_most_200_bytes_long() -> None:
    settings(NAMESPACE="ä" * 100)
    with pytest.raises(InputError, match=r"^OHLCV_NAMESPACE has more than 200 bytes: give a shorter name$"):
        settings(NAMESPACE="ä" * 101)
