"""Settings of native execution, and the reasons to run on the JVM that follow from settings."""

from __future__ import annotations

import dataclasses

import pytest

from ohlcv.config.execution import find_jvm_reason
from ohlcv.config.settings import load_settings
from ohlcv.model.errors import InputError
from ohlcv.model.trade_mapping import DEFAULT_MAPPING

STORE = {"OHLCV_WAREHOUSE": "s3://bucket/candles", "OHLCV_S3_ACCESS_KEY": "key", "OHLCV_S3_SECRET_KEY": "secret"}
REST = {"OHLCV_CATALOG_URI": "http://catalog.example/iceberg"}


def test_only_reprocessing_runs_natively_by_default() -> None:
    settings = load_settings({})
    assert settings.native
    assert settings.reprocess_execution == "native"
    assert {tuning.execution for tuning in settings.tuning.values()} == {"jvm"}


def test_a_timeframe_overrides_the_mode_of_all() -> None:
    settings = load_settings({"OHLCV_EXECUTION": "native", "OHLCV_1D_EXECUTION": "shadow", "OHLCV_1M_EXECUTION": "jvm"})
    assert [settings.tuning[name].execution for name in settings.enabled] == [
        "jvm",
        "native",
        "native",
        "native",
        "shadow",
    ]


def test_reprocessing_has_the_tuning_of_the_longest_timeframe_and_a_mode_of_its_own() -> None:
    settings = load_settings(
        {"OHLCV_1D_EXECUTOR_MEMORY": "4g", "OHLCV_1D_EXECUTION": "jvm", "OHLCV_REPROCESS_EXECUTION": "shadow"}
    )
    assert (settings.reprocess_tuning.executor_memory, settings.reprocess_tuning.execution) == ("4g", "shadow")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("OHLCV_1D_EXECUTION", "Native", "OHLCV_1D_EXECUTION is 'Native': use jvm, native or shadow"),
        ("OHLCV_REPROCESS_EXECUTION", "no", "OHLCV_REPROCESS_EXECUTION is 'no': use jvm, native or shadow"),
        ("OHLCV_NATIVE", "false", "OHLCV_NATIVE is 'false': use yes or no"),
    ],
)
def test_an_unknown_mode_is_refused(name: str, text: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        load_settings({name: text})


@pytest.mark.parametrize(
    "values",
    [{}, STORE, {**STORE, "OHLCV_S3_ENDPOINT": "https://store"}, {**STORE, **REST}, {"OHLCV_NATIVE": "yes"}],
    ids=["files", "S3", "S3 with an endpoint", "REST catalog with keys in the settings", "permitted"],
)
def test_files_and_stores_with_keys_are_read_natively(values: dict[str, str]) -> None:
    settings = load_settings(values)
    assert find_jvm_reason(settings, settings.reprocess_tuning) is None


def configured(**properties: str) -> dict[str, str]:
    names = {key.replace("_", "__", 1): value for key, value in properties.items()}
    return {"OHLCV_CATALOG": "lake", **{f"PYICEBERG_CATALOG__LAKE__{name}": value for name, value in names.items()}}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"OHLCV_NATIVE": "no"}, "OHLCV_NATIVE is no"),
        ({"OHLCV_1D_EXECUTOR_MEMORY": "800m"}, "it needs an executor memory of 1024m, not 800m"),
        (REST, "the catalog vends the keys of the store"),
        (
            configured(TYPE="hive", URI="thrift://h:1", WAREHOUSE="gs://bucket/x"),
            "the tables are neither in a folder nor in an S3 store of the settings",
        ),
        (
            configured(TYPE="glue", WAREHOUSE="s3://bucket/x", S3_SSE__TYPE="custom"),
            "the property s3.sse.type is not supported",
        ),
    ],
)
def test_the_reason_to_run_on_the_jvm_is_named(values: dict[str, str], reason: str) -> None:
    settings = load_settings(values)
    assert find_jvm_reason(settings, settings.reprocess_tuning) == reason


def test_a_mapped_trades_table_is_read_on_the_jvm() -> None:
    settings = dataclasses.replace(
        load_settings({}), trades_mapping=dataclasses.replace(DEFAULT_MAPPING, every_row=True)
    )
    assert find_jvm_reason(settings, settings.reprocess_tuning) == "the trades table has a mapping"
