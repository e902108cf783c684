"""Settings: defaults, overrides, and an error message for every invalid name or value."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ohlcv.config.catalogs.adapters import PostgresqlCatalog
from ohlcv.config.catalogs.sql_address import PostgresqlAddress
from ohlcv.config.settings import MAXIMA, Tuning, load_settings
from ohlcv.config.storage import S3Store
from ohlcv.model.errors import InputError
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES, TIMEFRAMES

POSTGRES = "postgresql://candles@db.example:6432/market"


def test_by_default_everything_is_stored_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings({})
    assert settings.home == tmp_path / ".ohlcv"
    assert settings.catalog.embedded_database == str(tmp_path / ".ohlcv" / "catalog.db")
    assert settings.warehouse == f"file://{tmp_path}/.ohlcv/warehouse"
    assert settings.spark_master is None
    assert settings.tuning == dict.fromkeys(TIMEFRAMES, Tuning())
    assert settings.timeframes == DEFAULT_TIMEFRAMES


def test_an_empty_value_counts_as_unset() -> None:
    names = ("OHLCV_HOME", "OHLCV_CATALOG_URI", "OHLCV_WAREHOUSE", "OHLCV_SPARK_MASTER", "OHLCV_1M_EXECUTOR_CORES")
    assert load_settings(dict.fromkeys(names, "")) == load_settings({})


def test_other_environment_variables_are_ignored() -> None:
    assert load_settings({"PATH": "/bin", "AIRFLOW__CORE__X": "1", "ohlcv_home": "/x"}) == load_settings({})


def test_settings_are_read_from_the_environment_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OHLCV_HOME", str(tmp_path))
    assert load_settings().home == tmp_path


@pytest.mark.parametrize(
    ("name", "similar"),
    [
        ("OHLCV_HOMES", "OHLCV_HOME"),
        ("OHLCV_CATALOG_URL", "OHLCV_CATALOG_URI"),
        ("OHLCV_1D_EXECUTOR_MEMROY", "OHLCV_1D_EXECUTOR_MEMORY"),
    ],
)
def test_an_unknown_name_is_refused_with_the_most_similar_name(name: str, similar: str) -> None:
    with pytest.raises(InputError, match=f"^unknown setting {name}: did you mean {similar}\\?$"):
        load_settings({name: "x"})


def test_an_unknown_name_without_a_similar_one_is_refused() -> None:
    with pytest.raises(InputError, match=r"^unknown setting OHLCV_ZZZZZZZZZZZZ$"):
        load_settings({"OHLCV_ZZZZZZZZZZZZ": "x"})


def test_tuning_of_one_timeframe_overrides_tuning_of_all() -> None:
    settings = load_settings(
        {
            "OHLCV_EXECUTOR_MEMORY": "2g",
            "OHLCV_1D_EXECUTOR_MEMORY": "4096m",
            "OHLCV_1D_EXECUTOR_CORES": "4",
            "OHLCV_5M_REPAIR_TRADES": "12345",
        }
    )
    assert {name: tuning.executor_memory for name, tuning in settings.tuning.items()} == {
        **dict.fromkeys(TIMEFRAMES, "2g"),
        "1d": "4096m",
    }
    assert (settings.tuning["1d"].executor_cores, settings.tuning["1h"].executor_cores) == (4, 1)
    assert settings.tuning["5m"].repair_trades == 12345


def test_lookback_and_time_target_override_the_registry() -> None:
    settings = load_settings({"OHLCV_1H_LOOKBACK_MINUTES": "180", "OHLCV_TIME_TARGET_SECONDS": "7"})
    assert settings.timeframe("1h").lookback == timedelta(hours=3)
    assert settings.timeframe("1m").lookback == TIMEFRAMES["1m"].lookback
    assert {settings.timeframe(name).time_target for name in DEFAULT_TIMEFRAMES} == {timedelta(seconds=7)}


COUNTS = [
    *(f"OHLCV_1D_{field.upper()}" for field in MAXIMA),
    "OHLCV_EXECUTOR_CORES",
    "OHLCV_SPARK_WORKERS",
]


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize(
    "value", ["0", "-3", "+3", "1.5", "many", " 5", "1_440", "\u00b2", "\u0663", "1e3", "9" * 15, "9" * 400]
)
def test_an_invalid_number_is_refused(name: str, value: str) -> None:
    with pytest.raises(InputError, match=rf"^{name} must be a whole number from 1 to [0-9]+, not '.{{1,50}}'$"):
        load_settings({name: value})


@pytest.mark.parametrize("name", DEFAULT_TIMEFRAMES)
def test_the_largest_numbers_are_valid_times(name: str) -> None:
    settings = load_settings({f"OHLCV_{field.upper()}": str(maximum) for field, maximum in MAXIMA.items()})
    timeframe = settings.timeframe(name)
    now = datetime(2026, 1, 31, tzinfo=UTC)
    assert timeframe.cutoff(now) is not None
    assert now - timeframe.lookback < now + timeframe.deadline
    assert settings.trade_budget(name) == 10**12


@pytest.mark.parametrize(
    "value",
    ["511m", "0g", "1", "1024", "1024M", "1.5g", "1 g", "-1g", "1g ", "lots", "1025g", "\u0661g", "9" * 400 + "g"],
)
@pytest.mark.parametrize("name", ["OHLCV_EXECUTOR_MEMORY", "OHLCV_1H_DRIVER_MEMORY"])
def test_an_invalid_memory_size_is_refused(name: str, value: str) -> None:
    message = f"^{name} must be from 512m to 1024g, as in 1024m or 2g, not '{re.escape(value[:50])}'$"
    with pytest.raises(InputError, match=message):
        load_settings({name: value})


def test_a_lookback_shorter_than_one_window_is_refused() -> None:
    with pytest.raises(InputError, match="the lookback of 1h must contain at least one window"):
        load_settings({"OHLCV_1H_LOOKBACK_MINUTES": "59"}).timeframe("1h")


@pytest.mark.parametrize(
    ("uri", "file"),
    [
        ("sqlite:////folder/catalog.db", "/folder/catalog.db"),
        ("sqlite:////with%20space/c.db", "/with space/c.db"),
    ],
)
def test_the_address_of_a_sqlite_catalog_is_parsed(uri: str, file: str) -> None:
    catalog = load_settings({"OHLCV_CATALOG_URI": uri}).catalog
    assert (catalog.kind, catalog.embedded_database, str(catalog)) == ("sqlite", file, f"sqlite:///{file}")


@pytest.mark.parametrize("uri", ["http://rest:19120/iceberg/", "https://rest.example/a/b"])
def test_the_address_of_a_rest_catalog_has_no_trailing_slash(uri: str) -> None:
    catalog = load_settings({"OHLCV_CATALOG_URI": uri}).catalog
    assert (catalog.kind, catalog.embedded_database, str(catalog)) == ("rest", None, uri.rstrip("/"))


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        (POSTGRES, PostgresqlAddress("db.example", "market", "candles", 6432)),
        ("postgresql://u@h/d", PostgresqlAddress("h", "d", "u")),
        (
            "postgresql://u%40x@h/d?sslmode=require&connect_timeout=3",
            PostgresqlAddress("h", "d", "u@x", options=(("sslmode", "require"), ("connect_timeout", "3"))),
        ),
    ],
)
def test_the_address_of_a_postgresql_catalog_is_parsed(uri: str, address: PostgresqlAddress) -> None:
    catalog = load_settings({"OHLCV_CATALOG_URI": uri}).catalog
    assert isinstance(catalog, PostgresqlCatalog)
    assert catalog.address == address


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("mysql://u@h/d", "is 'mysql://…': use sqlite, postgresql, http or https"),
        ("postgresql+psycopg://u@h/d", "use sqlite, postgresql, http or https"),
        ("catalog.db", "use sqlite, postgresql, http or https"),
        ("http://", "give an address such as http://host:19120/iceberg"),
        ("https:///iceberg", "give an address such as http://host:19120/iceberg"),
        ("http://rest:port/iceberg", "give an address such as http://host:19120/iceberg"),
        ("http://rest/ice berg", "give an address such as http://host:19120/iceberg"),
        ("sqlite://x/cat.db", "has a host, .*: use sqlite:////folder/catalog.db with four slashes, or three before"),
        ("sqlite:////folder/cat.db?mode=ro", "has a host, a query or a fragment, .*: use sqlite:////folder/catalog.db"),
        ("sqlite:////folder/a%23b.db", "is /folder/a#b.db, with '#': give a folder without"),
        ("sqlite:////folder/a%00b.db", "OHLCV_CATALOG_URI contains a line break or another control character"),
        ("sqlite://", "contains no file path"),
        ("sqlite:///", "contains no file path"),
        ("postgresql://h/d", "must name user, host and database"),
        ("postgresql://u@h", "must name user, host and database"),
        ("postgresql://u@/d", "must name user, host and database"),
        ("postgresql://u@h:port/d", "is not an address"),
        ("postgresql://u@h:99999/d", "is not an address"),
        ("postgresql://u@[h/d", "is not an address"),
    ],
)
def test_an_invalid_catalog_address_is_refused(uri: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_settings({"OHLCV_CATALOG_URI": uri})


def test_a_password_is_read_from_a_variable_or_file_and_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("from file\n")
    base = {"OHLCV_CATALOG_URI": POSTGRES}
    by_variable = load_settings({**base, "OHLCV_CATALOG_PASSWORD": "from variable"})
    by_file = load_settings(
        {**base, "OHLCV_CATALOG_PASSWORD_FILE": str(file), "OHLCV_CATALOG_PASSWORD": "from variable"}
    )
    assert [each.catalog.description.properties["jdbc.password"] for each in (by_variable, by_file)] == [
        "from variable",
        "from file",
    ]
    for settings in (by_variable, by_file):
        assert "from " not in f"{settings!r} {settings} {settings.catalog!r} {settings.catalog}"
    assert str(by_file.catalog) == POSTGRES


@pytest.mark.parametrize(
    ("text", "warehouse"),
    [
        ("/data/candles", "file:///data/candles"),
        ("/data/a b/@ä", "file:///data/a b/@ä"),
        ("file:///data/candles/", "file:///data/candles"),
    ],
)
def test_a_warehouse_folder_becomes_a_location(text: str, warehouse: str) -> None:
    assert load_settings({"OHLCV_WAREHOUSE": text}).warehouse == warehouse


STORE = {
    "OHLCV_WAREHOUSE": "s3://bucket/some/prefix/",
    "OHLCV_S3_ENDPOINT": "http://store:7070/",
    "OHLCV_S3_ACCESS_KEY": "AKIA",
    "OHLCV_S3_SECRET_KEY": "hunter2",
}
REST = {"OHLCV_CATALOG_URI": "http://rest:19120/iceberg"}


def test_an_s3_warehouse_has_a_store() -> None:
    settings = load_settings(STORE)
    assert settings.warehouse == "s3://bucket/some/prefix"
    assert settings.store == S3Store("http://store:7070", "us-east-1", "AKIA", "hunter2")
    assert "hunter2" not in f"{settings!r} {settings.store}"
    assert load_settings({"OHLCV_WAREHOUSE": "s3://bucket"}).store == S3Store(None, "us-east-1", None, None)
    other_region = load_settings({"OHLCV_WAREHOUSE": "s3://bucket", "OHLCV_S3_REGION": "eu-central-1"})
    assert str(other_region.store) == "AWS S3 in eu-central-1"


def test_the_secret_key_can_be_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from file\n")
    store = load_settings({**STORE, "OHLCV_S3_SECRET_KEY_FILE": str(tmp_path / "key")}).store
    assert store is not None
    assert store.secret_key == "from file"


def test_a_warehouse_folder_has_no_store() -> None:
    assert load_settings({"OHLCV_WAREHOUSE": "/data"}).store is None


@pytest.mark.parametrize(
    ("more", "warehouse", "has_store"),
    [
        ({}, "", False),
        ({"OHLCV_WAREHOUSE": "candles"}, "candles", False),
        ({"OHLCV_WAREHOUSE": "s3://bucket/candles"}, "s3://bucket/candles", True),
        ({**STORE, "OHLCV_WAREHOUSE": "candles"}, "candles", True),
    ],
)
def test_the_warehouse_of_a_rest_catalog_can_be_a_name_or_empty(
    more: dict[str, str], warehouse: str, has_store: bool
) -> None:
    settings = load_settings({**REST, **more})
    assert (settings.warehouse, settings.store is not None) == (warehouse, has_store)


def test_the_token_of_a_rest_catalog_is_never_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hunter2\n")
    for values in ({"OHLCV_CATALOG_TOKEN": "hunter2"}, {"OHLCV_CATALOG_TOKEN_FILE": str(tmp_path / "token")}):
        settings = load_settings({**REST, **values})
        assert settings.catalog.description.properties["token"] == "hunter2"
        assert "hunter2" not in f"{settings!r} {settings.catalog}"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"OHLCV_WAREHOUSE": "gs://bucket"},
            r"OHLCV_WAREHOUSE is 'gs://bucket': give a folder, its file:// address or s3://",
        ),
        ({"OHLCV_WAREHOUSE": "s3://"}, "give s3://bucket/prefix"),
        ({"OHLCV_WAREHOUSE": "s3://Bucket/x"}, "give s3://bucket/prefix"),
        ({"OHLCV_WAREHOUSE": "s3://bucket/a b%20c"}, r"give s3://bucket/prefix, without \?, # or %"),
        (
            {"OHLCV_WAREHOUSE": "file://x/y"},
            "^OHLCV_WAREHOUSE is 'file://x/y': give file:///folder, with three slashes$",
        ),
        ({"OHLCV_WAREHOUSE": "file:/y"}, "^OHLCV_WAREHOUSE is 'file:/y': give a folder, its file:// address or"),
        ({"OHLCV_WAREHOUSE": "file:///"}, "^OHLCV_WAREHOUSE is the root folder: give a folder below it$"),
        (
            {"OHLCV_WAREHOUSE": "/a#b"},
            "^OHLCV_WAREHOUSE is /a#b, with '#': give a folder without [?], # and % in its path$",
        ),
        ({"OHLCV_WAREHOUSE": "file:///a%20b"}, "^OHLCV_WAREHOUSE is /a%20b, with '%': give a folder without"),
        ({"OHLCV_HOME": "/a?b"}, "^OHLCV_HOME is /a[?]b, with '[?]': give a folder without"),
        ({"OHLCV_HOME": "file:///a"}, "^OHLCV_HOME is 'file:///a': give a folder$"),
        (
            {"OHLCV_SPARK_MASTER": "localhost:7077"},
            "^OHLCV_SPARK_MASTER is 'localhost:7077': give an address such as spark:",
        ),
        ({"OHLCV_SPARK_MASTER": "spark://a:7077,b:99999"}, "^OHLCV_SPARK_MASTER is 'spark://a:7077,b:99999': give"),
        (
            {"OHLCV_SPARK_WEB": "http://a:65536"},
            "^OHLCV_SPARK_WEB is 'http://a:65536': give an address such as http://host",
        ),
        ({"OHLCV_SPARK_WEB": "http://a/ä"}, "^OHLCV_SPARK_WEB is 'http://a/ä': give an address such as http://host"),
        ({**STORE, "OHLCV_S3_SECRET_KEY": ""}, r"^OHLCV_S3_SECRET_KEY \(or …_FILE\) is missing: set both keys"),
        ({**STORE, "OHLCV_S3_ACCESS_KEY": ""}, "^OHLCV_S3_ACCESS_KEY is missing: set both keys"),
        ({**STORE, "OHLCV_S3_ENDPOINT": "store:7070"}, "OHLCV_S3_ENDPOINT is 'store:7070': give an address such as"),
        ({**STORE, "OHLCV_S3_ENDPOINT": "http://store:x"}, "OHLCV_S3_ENDPOINT is 'http://store:x': give an address"),
        ({**STORE, "OHLCV_WAREHOUSE": ""}, "OHLCV_S3_ENDPOINT is set, but OHLCV_WAREHOUSE is file:///.*: give s3://"),
        ({"OHLCV_S3_REGION": "x"}, "OHLCV_S3_REGION is set, but OHLCV_WAREHOUSE is file:///"),
        (
            {**REST, "OHLCV_CATALOG_PASSWORD": "x"},
            "^OHLCV_CATALOG_PASSWORD is for a PostgreSQL catalog, but OHLCV_CATALOG_URI is http://rest:19120/",
        ),
        ({"OHLCV_CATALOG_PASSWORD": "x"}, "OHLCV_CATALOG_PASSWORD is for a PostgreSQL catalog, but .* sqlite:///"),
        (
            {"OHLCV_CATALOG_URI": POSTGRES, "OHLCV_CATALOG_TOKEN": "x"},
            "OHLCV_CATALOG_TOKEN is for a REST catalog, but OHLCV_CATALOG_URI is postgresql://",
        ),
    ],
)
def test_contradicting_store_and_catalog_settings_are_refused(values: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_settings(values)
    assert "hunter2" not in str(caught.value)


def test_the_trade_budget_follows_from_the_time_target_unless_it_is_set() -> None:
    settings = load_settings({"OHLCV_5M_TIME_TARGET_SECONDS": "10", "OHLCV_1D_REPAIR_TRADES": "7"})
    assert {name: settings.trade_budget(name) for name in ("1m", "5m", "1h", "1d")} == {
        "1m": 300_000,
        "5m": 150_000,
        "1h": 900_000,
        "1d": 7,
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"OHLCV_AIRFLOW_URL": "http://a:8080"},
            "OHLCV_AIRFLOW_URL needs OHLCV_AIRFLOW_USER and OHLCV_AIRFLOW_PASSWORD",
        ),
        ({"OHLCV_AIRFLOW_URL": "a:8080"}, "OHLCV_AIRFLOW_URL is 'a:8080': give an address such as http://host:8080"),
        ({"OHLCV_SPARK_WEB": "spark://a:7077"}, "OHLCV_SPARK_WEB is 'spark://a:7077': give an address"),
    ],
)
def test_an_invalid_web_address_is_refused(values: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_settings(values)


def test_the_airflow_password_is_never_shown() -> None:
    names = ("URL", "USER", "PASSWORD")
    values = dict(zip((f"OHLCV_AIRFLOW_{name}" for name in names), ("http://a", "u", "hunter2"), strict=True))
    settings = load_settings(values)
    assert settings.airflow is not None
    assert settings.airflow.password == "hunter2"
    assert "hunter2" not in repr(settings)


def test_a_deleted_working_directory_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(
        InputError, match=r"^the working directory does not exist any more: set OHLCV_HOME to an absolute"
    ):
        load_settings({})
    assert load_settings({"OHLCV_HOME": str(tmp_path)}).home == tmp_path
