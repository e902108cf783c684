"""The recipes for Spark SQL in docs/reading.md."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from ohlcv.config.settings import load_settings
from support.documents import named_blocks, run_block
from support.reading import store_candles

BLOCKS = named_blocks("reading.md")


def test_spark_sql_returns_the_stored_candles(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = store_candles(load_settings({"OHLCV_HOME": str(tmp_path)}), wide=True)
    monkeypatch.setenv("OHLCV_HOME", str(tmp_path))
    # The builder of the recipe configures this session instead of the one that all tests share.
    session = spark.newSession()
    monkeypatch.setattr(SparkSession, "_instantiatedSession", session)
    assert run_block(BLOCKS, "spark")["candles"].to_pylist() == hours

    program, command, statement = shlex.split(BLOCKS["spark-command"].code)
    assert (program, command) == ("ohlcv", "sql")
    session.catalog.setCurrentCatalog("iceberg")
    assert session.sql(statement).toArrow().to_pylist() == hours
