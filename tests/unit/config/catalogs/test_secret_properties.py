"""Secret properties: recognized by name, and removed from texts."""

from __future__ import annotations

import pytest

from ohlcv.config.catalogs.secrets import is_secret, secret_values, without_secrets

SECRET = (
    *("credential", "token", "header.x-api-key", "jdbc.password", "s3.access-key-id", "s3.secret-access-key"),
    *("s3.session-token", "client.secret-access-key", "rest.session-token", "rest.auth.basic.password"),
    *("adls.account-key", "adls.auth.shared-key.account.key", "adls.sas-token.account", "adls.connection-string.x"),
    *("gcs.oauth2.token", "adls.client-secret", "OHLCV_CATALOG_CREDENTIAL", "spark.authenticate.secret"),
)
PUBLIC = ("uri", "warehouse", "scope", "oauth2-server-uri", "s3.endpoint", "s3.region", "jdbc.user", "io-impl", "type")


@pytest.mark.parametrize("key", SECRET)
def test_secret_properties_are_recognized(key: str) -> None:
    assert is_secret(key)
    assert is_secret(f"spark.sql.catalog.lake.{key}")


@pytest.mark.parametrize("key", PUBLIC)
def test_other_properties_are_shown(key: str) -> None:
    assert not is_secret(f"spark.sql.catalog.lake.{key}")


def test_secrets_are_removed_from_texts() -> None:
    secrets = secret_values(
        {
            "credential": "loader:hunter2",
            "token": "hunter2-and-more",
            "header.X-Iceberg-Access-Delegation": "vended-credentials",
            "token-exchange-enabled": "false",
            "uri": "http://rest",
        }
    )
    assert secrets == ["hunter2", "hunter2-and-more", "loader:hunter2"]
    text = "vended-credentials of http://rest: false with hunter2-and-more, loader:hunter2, hunter2"
    assert without_secrets(text, secrets) == "vended-credentials of http://rest: false with …, …, …"
