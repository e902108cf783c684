"""Addresses with credentials: refused in every setting, and never repeated in a message."""

from __future__ import annotations

import pytest

from ohlcv.cli.main import main
from ohlcv.config.catalogs.adapters import PostgresqlCatalog
from ohlcv.config.settings import load_settings
from ohlcv.config.values import redacted
from ohlcv.model.errors import InputError

SECRET = "hunter2"
REST = {"OHLCV_CATALOG_URI": "http://rest:19120/iceberg"}
# A password may contain any character, so the secret may be anywhere in an invalid address.
WEB = [
    f"http://me:{SECRET}@host:8080",
    f"http://{SECRET}@host",
    f"http://me:x/{SECRET}@host",
    f"http://me:1/{SECRET}@host",
    f"http://me:a?{SECRET}@host",
    f"http://me:a#{SECRET}@host",
    f"http://host/?token={SECRET}",
    f"http://host/#{SECRET}",
    f"https://me:{SECRET}@[::1]:8080/",
    f"ftp://me:{SECRET}@host",
    f"me:{SECRET}@host",
]
CASES = [
    *(({"OHLCV_AIRFLOW_URL": text}) for text in WEB),
    *(({"OHLCV_SPARK_WEB": text}) for text in WEB),
    *(({"OHLCV_WAREHOUSE": "s3://bucket", "OHLCV_S3_ENDPOINT": text}) for text in WEB),
    *(({"OHLCV_CATALOG_URI": text}) for text in WEB),
    *(({"OHLCV_SPARK_MASTER": f"spark://{rest}"}) for rest in (f"me:{SECRET}@host:7077", f"host:7077?{SECRET}")),
    *(({"OHLCV_SPARK_MASTER": text}) for text in WEB),
    *(({"OHLCV_RUNBOOK_URL": text}) for text in WEB if "@" in text.partition("?")[0]),
    *(({"OHLCV_WAREHOUSE": text}) for text in WEB if "://" in text),
    *(({**REST, "OHLCV_WAREHOUSE": text}) for text in WEB if "://" in text),
    {"OHLCV_WAREHOUSE": f"s3://key:{SECRET}@bucket"},
    {"OHLCV_WAREHOUSE": f"s3://bucket/prefix?secret={SECRET}"},
    {"OHLCV_WAREHOUSE": f"file://me:{SECRET}@host/folder"},
    {"OHLCV_HOME": f"sftp://me:{SECRET}@host/folder"},
    {"OHLCV_CATALOG_URI": f"sqlite://me:{SECRET}@host/catalog.db"},
    {"OHLCV_CATALOG_URI": f"sqlite:////catalog.db?key={SECRET}"},
    {"OHLCV_CATALOG_URI": f"postgresql://u:{SECRET}@h/d"},
    {"OHLCV_CATALOG_URI": f"postgresql://u:@h/d?application_name=a&password={SECRET}"},
    {"OHLCV_CATALOG_URI": f"postgresql://u@h/d?password={SECRET}"},
    {"OHLCV_CATALOG_URI": f"postgresql://u@h/d?pass%77ord={SECRET}"},
    {"OHLCV_CATALOG_URI": f"postgresql://u@h/d?sslpassword={SECRET}"},
    {"OHLCV_CATALOG_URI": f"postgresql://u@h/d#{SECRET}"},
    {"OHLCV_CATALOG_URI": f"postgresql://u:x/{SECRET}@h/d"},
    {"OHLCV_CATALOG_URI": f"postgresql+psycopg://u:{SECRET}@h/d"},
]


@pytest.mark.parametrize("values", CASES, ids=lambda values: " ".join(f"{k}={v}" for k, v in values.items()))
def test_credentials_in_an_address_are_refused_and_not_repeated(
    values: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # With a login, so that only the address is wrong.
    for name, value in {"OHLCV_AIRFLOW_USER": "me", "OHLCV_AIRFLOW_PASSWORD": "pw", **values}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as exit_info:
        main(["health"])
    output, errors = capsys.readouterr()
    assert exit_info.value.code == 2
    assert output == ""
    assert errors.startswith("error: OHLCV_")
    assert errors.count("\n") == 1
    assert SECRET not in errors


def test_a_password_file_and_certificates_are_no_credentials() -> None:
    options = "passfile=/run/secrets/pgpass&sslkey=/run/secrets/key&sslmode=verify-full"
    catalog = load_settings({"OHLCV_CATALOG_URI": f"postgresql://u@h/d?{options}"}).catalog
    assert isinstance(catalog, PostgresqlCatalog)
    assert [name for name, _ in catalog.address.options] == ["passfile", "sslkey", "sslmode"]


def test_the_page_of_a_runbook_may_need_a_query() -> None:
    load_settings({"OHLCV_RUNBOOK_URL": "https://wiki.example.com/page?id=7"})
    with pytest.raises(
        InputError, match=r"^OHLCV_RUNBOOK_URL is 'https://…': give an address without user and password$"
    ):
        load_settings({"OHLCV_RUNBOOK_URL": "https://me:pw@wiki.example.com/page"})


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://host:8080/path", "http://host:8080/path"),
        ("http://me:pw@host", "http://…"),
        ("s3://bucket?key", "s3://…"),
        ("me:pw@host", "…"),
        ("pw@://host", "…"),
    ],
)
def test_an_address_is_redacted(address: str, shown: str) -> None:
    assert redacted(address) == shown
