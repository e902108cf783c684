"""Catalog properties: pyiceberg and Spark open the same catalog, and no secret is shown."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url

from ohlcv.config.catalogs.secrets import REDACTED
from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import open_catalog
from ohlcv.model.errors import OhlcvError

PREFIX = "spark.sql.catalog.iceberg"


def catalog_settings(uri: str = "", password: str = "", warehouse: str = "/data") -> Settings:
    return load_settings(
        {
            "OHLCV_HOME": "/srv/ohlcv",
            "OHLCV_CATALOG_URI": uri,
            "OHLCV_CATALOG_PASSWORD": password,
            "OHLCV_WAREHOUSE": warehouse,
        }
    )


def test_the_embedded_catalog() -> None:
    settings = catalog_settings()
    assert settings.catalog.pyiceberg_properties() == {
        "type": "sql",
        "uri": "sqlite:////srv/ohlcv/catalog.db?timeout=60",
        "warehouse": "file:///data",
        "py-io-impl": "ohlcv.iceberg.file_io.CheckingFileIO",
    }
    assert settings.catalog.spark_properties() == {
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        PREFIX: "org.apache.iceberg.spark.SparkCatalog",
        f"{PREFIX}.type": "jdbc",
        f"{PREFIX}.jdbc.schema-version": "V1",
        f"{PREFIX}.warehouse": "file:///data",
        f"{PREFIX}.uri": "jdbc:sqlite:/srv/ohlcv/catalog.db?journal_mode=WAL&busy_timeout=60000",
    }


# Options of libpq and of the JDBC driver without which a client waits for ever for a server that is gone.
LIMITS = "connect_timeout=30&keepalives_idle=30&keepalives_interval=10&keepalives_count=3&tcp_user_timeout=60000"
DRIVER = {
    f"{PREFIX}.jdbc.prepareThreshold": "0",
    f"{PREFIX}.jdbc.socketTimeout": "60",
    f"{PREFIX}.jdbc.tcpKeepAlive": "true",
}


def test_a_postgresql_catalog() -> None:
    settings = catalog_settings("postgresql://candles@db:6432/market?sslmode=require", "pw", "file:///shared/candles")
    assert settings.catalog.pyiceberg_properties() == {
        "type": "sql",
        "uri": f"postgresql+psycopg://candles:pw@db:6432/market?{LIMITS}&sslmode=require",
        "warehouse": "file:///shared/candles",
        "py-io-impl": "ohlcv.iceberg.file_io.CheckingFileIO",
    }
    assert settings.catalog.spark_properties() == {
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        PREFIX: "org.apache.iceberg.spark.SparkCatalog",
        f"{PREFIX}.type": "jdbc",
        f"{PREFIX}.jdbc.schema-version": "V1",
        f"{PREFIX}.warehouse": "file:///shared/candles",
        f"{PREFIX}.uri": "jdbc:postgresql://db:6432/market?sslmode=require",
        f"{PREFIX}.jdbc.user": "candles",
        f"{PREFIX}.jdbc.password": "pw",
        **DRIVER,
    }


def test_an_address_overrides_the_limits_of_its_connections() -> None:
    settings = catalog_settings("postgresql://candles@db/market?connect_timeout=5")
    assert make_url(settings.catalog.pyiceberg_properties()["uri"]).query["connect_timeout"] == "5"


def test_without_a_password_the_properties_contain_none() -> None:
    settings = catalog_settings("postgresql://candles@db/market")
    assert settings.catalog.pyiceberg_properties()["uri"] == f"postgresql+psycopg://candles@db:5432/market?{LIMITS}"
    assert settings.catalog.spark_properties()[f"{PREFIX}.jdbc.password"] == ""


STORE = {
    "OHLCV_WAREHOUSE": "s3://bucket/candles",
    "OHLCV_S3_ENDPOINT": "http://store:7070",
    "OHLCV_S3_REGION": "eu-north-1",
    "OHLCV_S3_ACCESS_KEY": "AKIA",
    "OHLCV_S3_SECRET_KEY": "hunter2",
}
COMMON_S3_PROPERTIES = {
    "s3.endpoint": "http://store:7070",
    "s3.access-key-id": "AKIA",
    "s3.secret-access-key": "hunter2",
}


def spark_catalog_properties(settings: Settings) -> dict[str, str]:
    """Return the catalog properties of Spark without their prefix."""
    prefix = f"{PREFIX}."
    return {
        name.removeprefix(prefix): value
        for name, value in settings.catalog.spark_properties().items()
        if prefix in name
    }


def test_properties_of_an_s3_store() -> None:
    settings = load_settings({"OHLCV_HOME": "/srv/ohlcv", **STORE})
    assert settings.catalog.pyiceberg_properties() == {
        "type": "sql",
        "uri": "sqlite:////srv/ohlcv/catalog.db?timeout=60",
        "warehouse": "s3://bucket/candles",
        "py-io-impl": "ohlcv.iceberg.file_io.CheckingFileIO",
        "s3.region": "eu-north-1",
        **COMMON_S3_PROPERTIES,
    }
    assert spark_catalog_properties(settings) == {
        "type": "jdbc",
        "jdbc.schema-version": "V1",
        "uri": "jdbc:sqlite:/srv/ohlcv/catalog.db?journal_mode=WAL&busy_timeout=60000",
        "warehouse": "s3://bucket/candles",
        "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        "client.region": "eu-north-1",
        "s3.path-style-access": "true",
        **COMMON_S3_PROPERTIES,
    }


def test_aws_without_keys_uses_the_default_credential_chain() -> None:
    settings = load_settings({"OHLCV_WAREHOUSE": "s3://bucket"})
    assert not [name for name in settings.catalog.pyiceberg_properties() if "key" in name or "endpoint" in name]
    assert not [
        name for name in spark_catalog_properties(settings) if "key" in name or "endpoint" in name or "style" in name
    ]


def test_properties_of_a_rest_catalog() -> None:
    settings = load_settings(
        {
            **STORE,
            "OHLCV_CATALOG_URI": "http://rest:19120/iceberg",
            "OHLCV_CATALOG_TOKEN": "bearer",
            "OHLCV_WAREHOUSE": "candles",
        }
    )
    common = {
        "type": "rest",
        "uri": "http://rest:19120/iceberg",
        "token": "bearer",
        "warehouse": "candles",
        "header.X-Iceberg-Access-Delegation": "none",
        "s3.remote-signing-enabled": "false",
        "view-endpoints-supported": "true",
        **COMMON_S3_PROPERTIES,
    }
    files = {"py-io-impl": "ohlcv.iceberg.file_io.CheckingFileIO", "s3.region": "eu-north-1"}
    assert settings.catalog.pyiceberg_properties() == common | files
    files = {"io-impl": "org.apache.iceberg.aws.s3.S3FileIO", "client.region": "eu-north-1"}
    assert spark_catalog_properties(settings) == common | files | {"s3.path-style-access": "true"}


def test_a_rest_catalog_may_decide_about_warehouse_and_files() -> None:
    settings = load_settings({"OHLCV_CATALOG_URI": "http://rest/iceberg"})
    assert {"warehouse", "token", "io-impl"} & spark_catalog_properties(settings).keys() == set()
    assert {"warehouse", "token", "py-io-impl"} & settings.catalog.pyiceberg_properties().keys() == set()


def test_spark_redacts_every_property_with_a_secret() -> None:
    everything = {
        **catalog_settings("postgresql://candles@db/market", "hunter2").catalog.spark_properties(),
        **load_settings(
            {**STORE, "OHLCV_CATALOG_URI": "http://rest", "OHLCV_CATALOG_TOKEN": "hunter2"}
        ).catalog.spark_properties(),
    }
    hidden = {name.removeprefix(f"{PREFIX}.") for name in everything if re.search(REDACTED, name)}
    assert hidden == {
        "jdbc.password",
        "header.X-Iceberg-Access-Delegation",
        "token",
        "s3.access-key-id",
        "s3.secret-access-key",
    }
    assert {name for name, value in everything.items() if value == "hunter2"} <= {f"{PREFIX}.{name}" for name in hidden}


# Any text that an environment variable can contain.
passwords = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1)


@given(password=passwords | st.sampled_from(["p@ss:/w%20 ?#", "a+b", "%", "ä€😀", "'\"\\;--", "[::1]"]))
def test_pyiceberg_and_spark_use_the_same_password_with_any_characters(password: str) -> None:
    settings = catalog_settings("postgresql://can%40dles@db/market", password)
    url = make_url(settings.catalog.pyiceberg_properties()["uri"])
    assert (url.username, url.password) == ("can@dles", password)
    assert (url.host, url.port, url.database) == ("db", 5432, "market")
    spark = settings.catalog.spark_properties()
    assert (spark[f"{PREFIX}.jdbc.user"], spark[f"{PREFIX}.jdbc.password"]) == ("can@dles", password)
    # Only a property that Spark redacts contains the password.
    others = {name: value for name, value in spark.items() if name not in DRIVER and "password" not in name}
    assert password not in others.values()


def test_settings_and_addresses_do_not_show_the_password() -> None:
    settings = catalog_settings("postgresql://candles@db/market", "hunter2")
    shown = f"{settings} {settings!r} {settings.catalog} {settings.catalog!r}"
    shown += settings.catalog.spark_properties()[f"{PREFIX}.uri"]
    assert "hunter2" not in shown
    assert "postgresql://candles@db:5432/market" in shown


def test_an_unreachable_catalog_is_reported_without_its_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    settings = catalog_settings(f"postgresql://candles@127.0.0.1:{port}/market", "hunter2")
    with pytest.raises(OhlcvError) as caught:
        open_catalog(settings)
    message = str(caught.value)
    assert message.startswith(f"the catalog postgresql://candles@127.0.0.1:{port}/market does not answer (")
    assert message.endswith("): check OHLCV_CATALOG_URI")
    assert "\n" not in message
    assert "hunter2" not in message


def test_a_file_that_is_not_a_database_is_reported(tmp_path: Path) -> None:
    (tmp_path / "catalog.db").write_text("not a database, " * 100)
    with pytest.raises(OhlcvError, match=r"catalog.db is damaged \(file is not a database\): restore it"):
        open_catalog(load_settings({"OHLCV_HOME": str(tmp_path)}))
