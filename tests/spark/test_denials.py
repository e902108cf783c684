"""Requests that the catalog denies: the error names the denial and the setting to correct."""

from __future__ import annotations

from typing import Any

import pytest
from py4j.protocol import Py4JJavaError
from pyspark import SparkContext
from pyspark.sql import SparkSession

from ohlcv.config.catalogs.adapters import Catalog
from ohlcv.config.settings import load_settings
from ohlcv.model.errors import OhlcvError
from spark_jobs.runtime.py4j_bridge import JavaObject, java_class
from spark_jobs.runtime.spark_errors import find_denial
from support.harness import Harness, at, trade

NOON = at("2026-03-01 12:00")
ONE = at("2026-03-01 13:00")


@pytest.fixture
def catalog(monkeypatch: pytest.MonkeyPatch) -> Catalog:
    monkeypatch.setenv("OHLCV_CATALOG_URI", "https://catalog.example/api")
    monkeypatch.setenv("OHLCV_CATALOG_CREDENTIAL", "client:secret")
    monkeypatch.setenv("OHLCV_WAREHOUSE", "s3://candles/warehouse")
    return load_settings().catalog


def iceberg_exception(name: str, message: str) -> JavaObject:
    """Return an exception of Iceberg's Java library."""
    gateway: Any = SparkContext._gateway
    arguments = gateway.new_array(gateway.jvm.java.lang.Object, 0)
    return java_class(f"org.apache.iceberg.exceptions.{name}")(message, arguments)


@pytest.mark.parametrize("name", ["NotAuthorizedException", "ForbiddenException"])
@pytest.mark.parametrize(
    ("text", "reason"), [("Denied: token expired\nstack", "Denied: token expired"), ("Denied: ", "Denied")]
)
def test_a_denial_is_found_among_the_causes(
    spark: SparkSession, catalog: Catalog, name: str, text: str, reason: str
) -> None:
    denial = iceberg_exception(name, text)
    wrapped = java_class("java.lang.RuntimeException")("Writing job failed", denial)
    for exception in (denial, wrapped):
        assert find_denial(Py4JJavaError("", exception), catalog) == (
            f"the catalog {catalog} denies access ({reason}): check OHLCV_CATALOG_CREDENTIAL"
        )


def test_other_errors_are_no_denials(spark: SparkSession, catalog: Catalog) -> None:
    failure = iceberg_exception("ServiceFailureException", "Not allowed")
    for error in (Py4JJavaError("", failure), OhlcvError("NotAuthorizedException")):
        assert find_denial(error, catalog) is None


def test_a_denied_commit_is_a_denial_even_if_the_catalog_answers_no_more(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.load([trade(NOON)])

    def deny(*_: Any) -> None:
        raise Py4JJavaError("", iceberg_exception("NotAuthorizedException", "Not authorized: token expired"))

    with monkeypatch.context() as patch:
        patch.setattr("pyspark.sql.readwriter.DataFrameWriterV2.overwrite", deny)
        # The job cannot ask what became of the commit.
        patch.setattr("spark_jobs.iceberg.candle_writer._find_commit", deny)
        with pytest.raises(Py4JJavaError) as raised:
            harness.build("1m", NOON, ONE)
    assert "(Not authorized: token expired)" in str(find_denial(raised.value, harness.settings.catalog))
    assert harness.snapshots("1m") == []
    assert harness.build("1m", NOON, ONE)["candles"]["inserted"] == 1
