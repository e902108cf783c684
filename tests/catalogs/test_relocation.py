"""A moved warehouse with a PostgreSQL catalog, and files in an object store without a catalog entry."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from ohlcv.config.settings import load_settings
from ohlcv.demo.local_postgres import PostgresServer
from ohlcv.iceberg.registration import register_tables
from ohlcv.iceberg.relocation import relocate_tables
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.model.errors import OhlcvError
from support.databases import catalog_environment, new_database
from support.default_tables import TRADES, contracts
from support.harness import Harness, at, trade
from support.stores import ObjectStore

pytestmark = [
    pytest.mark.catalogs,
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
]

NOON = at("2026-03-31 12:00")


@pytest.fixture(autouse=True)
def _close_connections() -> Iterator[None]:
    """Close pyiceberg's connections, which only the garbage collector does."""
    yield
    gc.collect()


def test_a_moved_warehouse_is_relocated_in_a_postgresql_catalog(
    spark: SparkSession, postgres: PostgresServer, tmp_path: Path
) -> None:
    environment = {**catalog_environment(postgres, new_database(postgres)), "OHLCV_WAREHOUSE": str(tmp_path / "old")}
    harness = Harness(spark, tmp_path / "home", environment)
    harness.load([trade(NOON)])
    (tmp_path / "old").rename(tmp_path / "new")
    environment["OHLCV_WAREHOUSE"] = str(tmp_path / "new")
    settings = load_settings({"OHLCV_HOME": str(tmp_path / "home"), **environment})
    with pytest.raises(OhlcvError, match="run 'ohlcv tables relocate'"):
        create_tables(settings)
    relocate_tables(settings)
    moved = Harness(spark, tmp_path / "home", environment)
    assert moved.build("1m", NOON, NOON.replace(minute=5))["candles"]["inserted"] == 1


def test_files_in_a_store_are_registered_in_a_new_catalog(
    spark: SparkSession, postgres: PostgresServer, store: ObjectStore, tmp_path: Path
) -> None:
    stored = {"OHLCV_WAREHOUSE": f"s3://{store.new_bucket()}/candles", **store.environment}
    first = {**catalog_environment(postgres, new_database(postgres)), **stored}
    Harness(spark, tmp_path / "home", first).load([trade(NOON)])
    second = {**catalog_environment(postgres, new_database(postgres)), **stored}
    settings = load_settings({"OHLCV_HOME": str(tmp_path / "home"), **second})
    with pytest.raises(OhlcvError, match=r"gold_crypto_trades contains files, .*: run 'ohlcv tables register'"):
        create_tables(settings)
    assert register_tables(settings, open_catalog(settings), replace=False) == [str(each) for each in contracts()]
    assert load_table(open_catalog(settings), TRADES).scan().count() == 1
