"""Environment of a validation in a container: every secret, and none of them in a shown variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from ohlcv.config.settings import load_settings
from ohlcv.orchestration.container_validation import plain_settings, secret_variables

SHORT = {
    "OHLCV_CATALOG_URI": "http://rest/iceberg",
    "OHLCV_CATALOG_CREDENTIAL": "loader:hunter2",
    "OHLCV_CATALOG_SCOPE": "catalog",
    "OHLCV_WAREHOUSE": "candles",
    "OHLCV_S3_ACCESS_KEY": "AKIA",
    "OHLCV_S3_SECRET_KEY": "hunter3",
    "OHLCV_AIRFLOW_PASSWORD": "hunter4",
}
NAMED = {
    "OHLCV_CATALOG": "lake",
    "HOME": "/nonexistent",
    "PYICEBERG_CATALOG__LAKE__URI": "http://rest/iceberg",
    "PYICEBERG_CATALOG__LAKE__TOKEN": "hunter2",
    "PYICEBERG_CATALOG__LAKE__HEADER__X_KEY": "hunter3",
    "PYICEBERG_CATALOG__OTHER__TOKEN": "hunter4",
}


@pytest.mark.parametrize("environment", [SHORT, NAMED])
def test_a_container_opens_the_same_catalog(environment: dict[str, str]) -> None:
    settings = load_settings(environment)
    plain, private = plain_settings(environment), secret_variables(settings, environment)
    assert not any("hunter" in value for value in plain.values())
    assert "hunter4" not in private.values()
    there = load_settings({"HOME": "/nonexistent", **plain, **private})
    assert there.catalog.pyiceberg_properties() == settings.catalog.pyiceberg_properties()


def test_secrets_of_files_and_of_aws_are_passed_by_value(tmp_path: Path) -> None:
    (tmp_path / "credential").write_text("loader:hunter2\n")
    environment = {
        "OHLCV_CATALOG_URI": "http://rest/iceberg",
        "OHLCV_CATALOG_CREDENTIAL_FILE": str(tmp_path / "credential"),
        "AWS_SECRET_ACCESS_KEY": "hunter3",
        "UNRELATED": "x",
    }
    assert plain_settings(environment) == {"OHLCV_CATALOG_URI": "http://rest/iceberg"}
    assert secret_variables(load_settings(environment), environment) == {
        "OHLCV_CATALOG_CREDENTIAL": "loader:hunter2",
        "AWS_SECRET_ACCESS_KEY": "hunter3",
    }
