"""Selection of the catalog, its kind and its locking; invalid combinations."""

from __future__ import annotations

from pathlib import Path

import pytest

from ohlcv.config.catalogs.adapters import Catalog, PostgresqlCatalog
from ohlcv.config.catalogs.description import Locations, Locking
from ohlcv.config.settings import load_settings
from ohlcv.model.errors import InputError


def lake(**properties: str) -> dict[str, str]:
    """Return the environment of the catalog `lake`; `__` in a name is a dot, `_` a hyphen."""
    return {
        "OHLCV_CATALOG": "lake",
        "HOME": "/nonexistent",
        **{f"PYICEBERG_CATALOG__LAKE__{key.upper()}": value for key, value in properties.items()},
    }


def load(**properties: str) -> Catalog:
    return load_settings(lake(**properties)).catalog


POSTGRES = "postgresql+psycopg2://candles:p%40ss@db:6432/market?sslmode=require"
CUSTOM = {"py_catalog_impl": "my.Catalog", "catalog_impl": "com.example.MyCatalog"}


@pytest.mark.parametrize(
    ("properties", "kind", "locking", "locations", "shown"),
    [
        (
            {"uri": "sqlite:////srv/c.db", "warehouse": "/data"},
            "sqlite",
            Locking.FILE_LOCK,
            Locations.WAREHOUSE,
            "sqlite:////srv/c.db",
        ),
        (
            {"type": "sql", "uri": POSTGRES, "warehouse": "s3://bucket/x"},
            "postgresql",
            Locking.ADVISORY_LOCK,
            Locations.WAREHOUSE,
            "postgresql://candles@db:6432/market",
        ),
        ({"uri": "https://rest/api"}, "rest", Locking.SERVER_CHECK, Locations.SERVICE, "https://rest/api"),
        ({"type": "REST", "uri": "http://rest"}, "rest", Locking.SERVER_CHECK, Locations.SERVICE, "http://rest"),
        ({"type": "glue"}, "glue", Locking.SERVER_CHECK, Locations.SERVICE, "AWS Glue"),
        ({"uri": "thrift://hms:9083"}, "hive", Locking.SERVER_CHECK, Locations.SERVICE, "thrift://hms:9083"),
    ],
)
def test_the_type_decides_about_locking_and_locations(
    properties: dict[str, str], kind: str, locking: Locking, locations: Locations, shown: str
) -> None:
    catalog = load(**properties)
    assert (catalog.name, catalog.kind, catalog.locking, catalog.locations, str(catalog)) == (
        *("lake", kind, locking, locations),
        shown,
    )


def test_both_forms_at_once_are_refused(tmp_path: Path) -> None:
    for name, value in {"OHLCV_CATALOG_URI": "http://x", "OHLCV_WAREHOUSE": "/w", "OHLCV_S3_REGION": "eu"}.items():
        with pytest.raises(InputError, match=f"^OHLCV_CATALOG and {name} are both set: remove one of them"):
            load_settings({**lake(uri="http://rest"), name: value})
    # A deployment mounts the files of all secrets, used or not.
    (tmp_path / "empty").touch()
    load_settings({**lake(uri="http://rest"), "OHLCV_CATALOG_TOKEN_FILE": str(tmp_path / "empty")})
    (tmp_path / "token").write_text("t")
    with pytest.raises(InputError, match=r"^OHLCV_CATALOG and OHLCV_CATALOG_TOKEN_FILE are both set"):
        load_settings({**lake(uri="http://rest"), "OHLCV_CATALOG_TOKEN_FILE": str(tmp_path / "token")})


@pytest.mark.parametrize("name", ["a.b", "a b", "ä", "`", "spark_catalog", "x" * 64, "-a"])
def test_a_name_that_is_no_catalog_of_both_clients_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"^OHLCV_CATALOG is '.*': give the name of a catalog, with letters, digits"):
        load_settings({"OHLCV_CATALOG": name})


@pytest.mark.parametrize(
    "properties",
    [
        {"type": "dynamodb"},
        {"type": "bigquery", "uri": "http://x"},
        CUSTOM,
        {"type": "rest", "uri": "http://x", **CUSTOM},
    ],
)
def test_an_unknown_type_or_implementation_is_refused_unless_the_locking_is_set(properties: dict[str, str]) -> None:
    message = "^the catalog lake has the .*, and how it detects concurrent commits is not known: set OHLCV_CATALOG_LOCK"
    for locking in ({}, {"OHLCV_CATALOG_LOCKING": "yes"}):
        with pytest.raises(InputError, match=message):
            load_settings({**lake(**properties), **locking})
    catalog = load_settings({**lake(**properties), "OHLCV_CATALOG_LOCKING": "server-check"}).catalog
    assert (catalog.kind, catalog.locking) == ("custom", Locking.SERVER_CHECK)


def test_each_client_gets_its_own_implementation() -> None:
    environment = {**lake(**CUSTOM, uri="x://y", foo="bar"), "OHLCV_CATALOG_LOCKING": "server-check"}
    catalog = load_settings(environment).catalog
    pyiceberg, prefix = catalog.pyiceberg_properties(), "spark.sql.catalog.lake"
    assert (pyiceberg["py-catalog-impl"], pyiceberg["foo"]) == ("my.Catalog", "bar")
    assert {"type", "catalog-impl"}.isdisjoint(pyiceberg)
    spark = catalog.spark_properties()
    assert (spark[f"{prefix}.catalog-impl"], spark[f"{prefix}.foo"]) == ("com.example.MyCatalog", "bar")
    assert {f"{prefix}.type", f"{prefix}.py-catalog-impl"}.isdisjoint(spark)


@pytest.mark.parametrize("locking", ["", "server-check"])
@pytest.mark.parametrize(
    "properties",
    [{"type": "hadoop", "warehouse": "/w"}, {"type": "jdbc"}, {"catalog_impl": "org.apache.iceberg.jdbc.JdbcCatalog"}],
)
def test_a_catalog_without_safe_commits_is_always_refused(properties: dict[str, str], locking: str) -> None:
    with pytest.raises(InputError, match=r"which is not safe for concurrent writers: use sql, rest, glue or hive$"):
        load_settings({**lake(**properties), "OHLCV_CATALOG_LOCKING": locking})


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {**lake(uri="http://rest"), "OHLCV_CATALOG_LOCKING": "server-check"},
            "^OHLCV_CATALOG_LOCKING is for a catalog-impl, and the catalog lake has the type 'rest': remove it$",
        ),
        (
            {"OHLCV_CATALOG_LOCKING": "server-check"},
            "^OHLCV_CATALOG_LOCKING is for a catalog that OHLCV_CATALOG selects: remove it$",
        ),
        (lake(warehouse="x"), "^the catalog lake has no 'type': set it to sql, rest, glue or hive$"),
        (lake(type="rest"), "^the catalog lake has no 'uri': set its address$"),
        (
            lake(type="sql", uri="mysql://u:s3cret@h/d", warehouse="/w"),
            "^'uri' of the catalog lake is 'mysql://…': use sqlite:// or postgresql:// for the type sql$",
        ),
        (
            lake(type="rest", uri="thrift://h"),
            "^'uri' of .* is 'thrift://h': use http:// or https:// for the type rest$",
        ),
        (
            lake(uri="http://me:s3cret@rest"),
            "^'uri' of the catalog lake is 'http://…': give an address such as http://host:19120/iceberg, without user",
        ),
        (
            lake(uri="http://rest", credential="a:b", oauth2_server_uri="idp"),
            "^'oauth2-server-uri' of the catalog lake is 'idp': give an address such as",
        ),
        (lake(uri="http://rest", token="s3cret x"), "^'token' of the catalog lake contains a space, a line break or"),
        (
            lake(uri="sqlite:////c.db"),
            "^'warehouse' of the catalog lake is missing: give a folder, its file:// address",
        ),
        (lake(uri="sqlite:///:memory:", warehouse="/w"), "^'uri' of the catalog lake is a database in memory"),
        (
            lake(uri="sqlite:////c.db", warehouse="gs://b"),
            "^'warehouse' of the catalog lake is 'gs://b': give a folder",
        ),
        (
            lake(uri="postgresql://h/d", warehouse="/w"),
            "^'uri' of the catalog lake must name user, host and database: postgresql://user@host:5432/database$",
        ),
        (
            lake(uri="postgresql://u@h/d?password=s3cret", warehouse="/w"),
            "^'uri' of the catalog lake contains a password in an option: put it after the user$",
        ),
        (
            lake(type="glue", warehouse="s3://bucket", glue__access_key_id="s3cret"),
            "^'glue.access-key-id' of the catalog lake is unknown to Spark's client of Glue: set AWS_ACCESS_KEY_ID",
        ),
        (
            lake(uri="http://rest", s3__access_key_id="AKIA"),
            "^'s3.secret-access-key' of the catalog lake is missing: set both keys of the S3 store, or neither",
        ),
        (
            lake(uri="https://rest", ssl__cabundle="/nonexistent"),
            "^'ssl.cabundle' of the catalog lake cannot be read: No such file or directory$",
        ),
        (
            lake(uri="https://rest", ssl__client__cert="/x"),
            "^'ssl.client.cert' of .*: Spark's client has no certificate",
        ),
        (lake(uri="http://rest", auth__type="google"), "^'auth' of the catalog lake has the type 'google': use oauth2"),
        (
            lake(uri="http://rest", auth__type="oauth2"),
            "^'auth' of the catalog lake has no 'client_id': set it below 'auth: oauth2:'$",
        ),
        (lake(uri="http://rest\x07"), "^'uri' of the catalog lake contains a line break or another control character"),
    ],
)
def test_an_invalid_catalog_is_refused_in_one_line(environment: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_settings(environment)
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_sql_catalog_has_the_same_address_in_both_clients(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    catalog = load(uri=POSTGRES, warehouse="/data")
    assert isinstance(catalog, PostgresqlCatalog)
    assert catalog.address.password == "p@ss"
    properties = catalog.pyiceberg_properties()
    address, _, options = properties.pop("uri").partition("?")
    assert address == "postgresql+psycopg://candles:p%40ss@db:6432/market"
    assert "sslmode=require" in options.split("&")
    assert properties == {
        "type": "sql",
        "warehouse": "file:///data",
        "py-io-impl": "ohlcv.iceberg.file_io.CheckingFileIO",
    }
    spark = catalog.spark_properties()
    assert spark["spark.sql.catalog.lake.uri"] == "jdbc:postgresql://db:6432/market?sslmode=require"
    assert (spark["spark.sql.catalog.lake.jdbc.user"], spark["spark.sql.catalog.lake.jdbc.password"]) == (
        *("candles",),
        "p@ss",
    )
    monkeypatch.chdir(tmp_path)
    assert load(uri="sqlite:///c.db", warehouse="w").embedded_database == str(tmp_path / "c.db")


def test_secrets_of_a_configured_catalog_are_not_shown() -> None:
    settings = load_settings(
        lake(
            uri=POSTGRES,
            warehouse="/data",
            header__x_key="hunter2",
            s3__secret_access_key="h3",
            s3__access_key_id="AKIA1",
        )
    )
    shown = f"{settings!r} {settings.catalog!r} {settings.catalog}"
    assert not any(secret in shown for secret in ("p%40ss", "p@ss", "hunter2", "AKIA1"))
    text = settings.catalog.without_secrets("fatal: p@ss with hunter2 by AKIA1 at db")
    assert text == "fatal: … with … by … at db"


REST = {"OHLCV_CATALOG_URI": "https://rest/api"}


def test_the_short_form_of_oauth2(tmp_path: Path) -> None:
    (tmp_path / "credential").write_text("loader:hunter2\n")
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    settings = load_settings(
        {
            **REST,
            "OHLCV_CATALOG_CREDENTIAL_FILE": str(tmp_path / "credential"),
            "OHLCV_CATALOG_OAUTH2_URI": "https://idp/token",
            "OHLCV_CATALOG_SCOPE": "PRINCIPAL_ROLE:ALL",
            "OHLCV_CATALOG_CA_FILE": str(tmp_path / "ca.pem"),
        }
    )
    common = {
        "type": "rest",
        "uri": "https://rest/api",
        "credential": "loader:hunter2",
        "oauth2-server-uri": "https://idp/token",
        "scope": "PRINCIPAL_ROLE:ALL",
        "header.X-Iceberg-Access-Delegation": "vended-credentials",
        "s3.remote-signing-enabled": "false",
        "view-endpoints-supported": "true",
    }
    assert settings.catalog.pyiceberg_properties() == {**common, "ssl": {"cabundle": str(tmp_path / "ca.pem")}}
    prefix = "spark.sql.catalog.iceberg."
    spark = {
        key.removeprefix(prefix): value for key, value in settings.catalog.spark_properties().items() if prefix in key
    }
    assert spark == {**common, "token-exchange-enabled": "false"}
    assert settings.catalog.folders() == {str(tmp_path / "ca.pem"): True}
    # Files of secrets exist only here, so a container gets the value.
    assert settings.catalog.description.environment == {"OHLCV_CATALOG_CREDENTIAL": "loader:hunter2"}
    assert "hunter2" not in f"{settings!r}"


def test_a_credential_without_an_issuer_goes_to_the_catalog_itself() -> None:
    catalog = load_settings({**REST, "OHLCV_CATALOG_CREDENTIAL": "a:b"}).catalog
    assert catalog.pyiceberg_properties()["oauth2-server-uri"] == "https://rest/api/v1/oauth/tokens"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"OHLCV_CATALOG_CREDENTIAL": "a:b"},
            "^OHLCV_CATALOG_CREDENTIAL is for a REST catalog, but OHLCV_CATALOG_URI is sqlite:///.*: remove it$",
        ),
        (
            {"OHLCV_CATALOG_SCOPE": "s"},
            "^OHLCV_CATALOG_SCOPE is for a REST catalog, but OHLCV_CATALOG_URI is sqlite:///",
        ),
        (
            {**REST, "OHLCV_CATALOG_SCOPE": "s"},
            r"^OHLCV_CATALOG_SCOPE is set without OHLCV_CATALOG_CREDENTIAL \(or …_FILE\): set it too$",
        ),
        (
            {**REST, "OHLCV_CATALOG_CREDENTIAL": "a:b", "OHLCV_CATALOG_TOKEN": "t"},
            "^OHLCV_CATALOG_TOKEN and OHLCV_CATALOG_CREDENTIAL are both set: remove one of them$",
        ),
        (
            {**REST, "OHLCV_CATALOG_CREDENTIAL": "a:b", "OHLCV_CATALOG_OAUTH2_URI": "idp"},
            "^OHLCV_CATALOG_OAUTH2_URI is 'idp': give an address such as",
        ),
        (
            {**REST, "OHLCV_CATALOG_CA_FILE": "/etc/hostname"},
            "^OHLCV_CATALOG_CA_FILE is /etc/hostname, which contains no certificate in PEM format: give that of",
        ),
        ({**REST, "OHLCV_CATALOG_CA_FILE": "/nonexistent"}, "^OHLCV_CATALOG_CA_FILE cannot be read: No such file"),
    ],
)
def test_contradicting_settings_of_oauth2_are_refused(values: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_settings(values)


def test_vended_credentials_are_requested_without_keys_unless_a_header_says_otherwise() -> None:
    header = "header.x-iceberg-access-delegation"

    def delegation(**properties: str) -> list[str]:
        spark = load(uri="http://rest", **properties).spark_properties()
        return [value for key, value in spark.items() if key.lower().endswith(header)]

    assert delegation() == ["vended-credentials"]
    assert delegation(s3__endpoint="http://store:7070") == ["vended-credentials"]
    assert delegation(s3__access_key_id="a", s3__secret_access_key="b") == ["none"]
    assert delegation(header__x_iceberg_access_delegation="remote-signing") == ["remote-signing"]


def test_another_process_gets_the_same_catalog_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / ".pyiceberg.yaml").write_text(
        "catalog:\n  my-lake:\n    uri: http://rest\n    header.X-Tenant: acme\n    auth:\n      type: oauth2\n"
        "      oauth2:\n        client_id: loader\n        client_secret: hunter2\n        token_url: http://idp/token\n"
    )
    settings = load_settings({"OHLCV_CATALOG": "my-lake", "HOME": str(tmp_path)})
    properties = settings.catalog.pyiceberg_properties()
    assert (properties["credential"], properties["oauth2-server-uri"]) == ("loader:hunter2", "http://idp/token")
    container = {"OHLCV_CATALOG": "my-lake", "HOME": "/nonexistent", **settings.catalog.description.environment}
    assert load_settings(container).catalog.pyiceberg_properties() == properties
    assert load_settings(container).catalog.spark_properties() == settings.catalog.spark_properties()


def test_the_container_of_a_catalog_in_a_file_mounts_its_folder(tmp_path: Path) -> None:
    catalog = load(uri=f"sqlite:///{tmp_path}/c.db", warehouse=str(tmp_path / "w"))
    assert catalog.folders() == {str(tmp_path): False, str(tmp_path / "w"): True}


@pytest.mark.parametrize(
    ("properties", "sets"),
    [
        ({"uri": "http://rest"}, set()),
        ({"uri": "http://rest", "warehouse": "gs://b"}, {"gcp"}),
        ({"uri": "http://rest", "warehouse": "abfss://c@a.dfs.core.windows.net"}, {"azure"}),
        ({"uri": "sqlite:////c.db", "warehouse": "s3://bucket"}, {"aws"}),
        ({"uri": "sqlite:////c.db", "warehouse": "/w"}, set()),
        ({"type": "glue"}, {"aws"}),
        ({"uri": "thrift://h:9083", "warehouse": "s3://bucket"}, {"aws", "hive"}),
    ],
)
def test_catalog_and_store_name_the_jar_sets_that_spark_needs(properties: dict[str, str], sets: set[str]) -> None:
    assert load(**properties).jar_sets == sets


@pytest.mark.parametrize(
    ("properties", "settings"),
    [
        ({"uri": "http://rest"}, "'token' of the catalog lake"),
        ({"uri": "http://rest", "credential": "a:b"}, "'credential' of the catalog lake"),
        ({"uri": "http://rest", "rest__sigv4_enabled": "true"}, "the credentials of AWS (AWS_ACCESS_KEY_ID,"),
        ({"type": "glue"}, "the credentials of AWS (AWS_ACCESS_KEY_ID,"),
        ({"uri": "thrift://h:9083"}, "the properties of the catalog"),
    ],
)
def test_messages_name_the_settings_that_grant_access(properties: dict[str, str], settings: str) -> None:
    assert load(**properties).access_settings.startswith(settings)
