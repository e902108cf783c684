"""One setting, two property sets: pyiceberg and Spark must open the same catalog, and no secret may show."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url

from ohlcv.catalog import CATALOG_NAME, pyiceberg_properties, spark_properties
from ohlcv.errors import OhlcvError
from ohlcv.settings import Settings, load_settings
from ohlcv.warehouse import open_catalog

PREFIX = f"spark.sql.catalog.{CATALOG_NAME}"


def site(uri: str = "", password: str = "", warehouse: str = "/data") -> Settings:
    return load_settings(
        {
            "OHLCV_HOME": "/srv/ohlcv",
            "OHLCV_CATALOG_URI": uri,
            "OHLCV_CATALOG_PASSWORD": password,
            "OHLCV_WAREHOUSE": warehouse,
        }
    )


def test_the_embedded_catalog() -> None:
    settings = site()
    assert pyiceberg_properties(settings) == {
        "type": "sql",
        "uri": "sqlite:////srv/ohlcv/catalog.db?timeout=60",
        "warehouse": "file:///data",
    }
    assert spark_properties(settings) == {
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        PREFIX: "org.apache.iceberg.spark.SparkCatalog",
        f"{PREFIX}.type": "jdbc",
        f"{PREFIX}.jdbc.schema-version": "V1",
        f"{PREFIX}.warehouse": "file:///data",
        f"{PREFIX}.uri": "jdbc:sqlite:/srv/ohlcv/catalog.db?journal_mode=WAL&busy_timeout=60000",
    }


def test_a_postgresql_catalog() -> None:
    settings = site("postgresql://candles@db:6432/market?sslmode=require", "pw", "file:///shared/candles")
    assert pyiceberg_properties(settings) == {
        "type": "sql",
        "uri": "postgresql+psycopg://candles:pw@db:6432/market?sslmode=require",
        "warehouse": "file:///shared/candles",
    }
    assert spark_properties(settings) == {
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        PREFIX: "org.apache.iceberg.spark.SparkCatalog",
        f"{PREFIX}.type": "jdbc",
        f"{PREFIX}.jdbc.schema-version": "V1",
        f"{PREFIX}.warehouse": "file:///shared/candles",
        f"{PREFIX}.uri": "jdbc:postgresql://db:6432/market?sslmode=require",
        f"{PREFIX}.jdbc.user": "candles",
        f"{PREFIX}.jdbc.password": "pw",
    }


def test_without_a_password_none_is_sent() -> None:
    settings = site("postgresql://candles@db/market")
    assert pyiceberg_properties(settings)["uri"] == "postgresql+psycopg://candles@db:5432/market"
    assert spark_properties(settings)[f"{PREFIX}.jdbc.password"] == ""


# Everything a password may hold but what an environment variable cannot.
passwords = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1)


@given(password=passwords | st.sampled_from(["p@ss:/w%20 ?#", "a+b", "%", "ä€😀", "'\"\\;--", "[::1]"]))
def test_both_sides_log_in_with_the_same_password_whatever_it_holds(password: str) -> None:
    settings = site("postgresql://can%40dles@db/market", password)
    url = make_url(pyiceberg_properties(settings)["uri"])
    assert (url.username, url.password) == ("can@dles", password)
    assert (url.host, url.port, url.database) == ("db", 5432, "market")
    spark = spark_properties(settings)
    assert (spark[f"{PREFIX}.jdbc.user"], spark[f"{PREFIX}.jdbc.password"]) == ("can@dles", password)
    # The one place with it is the property that Spark redacts by its name.
    assert not any(settings.catalog_password == value for name, value in spark.items() if "password" not in name)


def test_no_secret_is_in_anything_shown() -> None:
    settings = site("postgresql://candles@db/market", "hunter2")
    shown = f"{settings} {settings!r} {settings.catalog} {settings.catalog!r}"
    shown += spark_properties(settings)[f"{PREFIX}.uri"]
    assert "hunter2" not in shown
    assert "postgresql://candles@db:5432/market" in shown


def test_a_catalog_that_is_down_is_named_without_its_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    settings = site(f"postgresql://candles@127.0.0.1:{port}/market", "hunter2")
    with pytest.raises(OhlcvError) as caught:
        open_catalog(settings)
    message = str(caught.value)
    assert message.startswith(f"the catalog postgresql://candles@127.0.0.1:{port}/market does not answer (")
    assert message.endswith("): check OHLCV_CATALOG_URI")
    assert "\n" not in message
    assert "hunter2" not in message


def test_a_file_that_is_no_catalog_is_named(tmp_path: Path) -> None:
    (tmp_path / "catalog.db").write_text("not a database, " * 100)
    with pytest.raises(OhlcvError, match=r"^the catalog sqlite:///.*catalog.db does not answer .*not a database"):
        open_catalog(load_settings({"OHLCV_HOME": str(tmp_path)}))
