"""Catalog of the settings OHLCV_CATALOG_…, OHLCV_WAREHOUSE and OHLCV_S3_…."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ohlcv.config.catalogs.adapters import Catalog, PostgresqlCatalog, RestCatalog, SqliteCatalog
from ohlcv.config.catalogs.description import DEFAULT_NAME, CatalogDescription
from ohlcv.config.catalogs.rest_properties import check_certificates, check_token
from ohlcv.config.catalogs.sql_address import postgresql_address, sqlite_path
from ohlcv.config.storage import S3_NAMES, s3_store, warehouse_location
from ohlcv.config.values import absolute_path, is_web_address, redacted, secret, web_address
from ohlcv.model.errors import InputError

# Secrets, which can also come from a file: setting -> property, and the kind of catalog that uses it.
_SECRETS = {
    "OHLCV_CATALOG_PASSWORD": ("jdbc.password", "postgresql"),
    "OHLCV_CATALOG_TOKEN": ("token", "rest"),
    "OHLCV_CATALOG_CREDENTIAL": ("credential", "rest"),
}
# Other settings of a REST catalog: setting -> property.
_REST_OPTIONS = {
    "OHLCV_CATALOG_OAUTH2_URI": "oauth2-server-uri",
    "OHLCV_CATALOG_SCOPE": "scope",
    "OHLCV_CATALOG_CA_FILE": "ssl.cabundle",
}
SECRET_NAMES = (*_SECRETS, "OHLCV_S3_SECRET_KEY")
SHORT_FORM = (
    "OHLCV_CATALOG_URI",
    *(name for setting in _SECRETS for name in (setting, f"{setting}_FILE")),
    *_REST_OPTIONS,
    "OHLCV_WAREHOUSE",
    *S3_NAMES,
)
# Property -> setting, for messages.
_SETTING_NAMES = {
    "uri": "OHLCV_CATALOG_URI",
    "warehouse": "OHLCV_WAREHOUSE",
    **{key: name for name, (key, _) in _SECRETS.items()},
    **{key: name for name, key in _REST_OPTIONS.items()},
    "s3.endpoint": "OHLCV_S3_ENDPOINT",
    "s3.region": "OHLCV_S3_REGION",
    "s3.access-key-id": "OHLCV_S3_ACCESS_KEY",
    "s3.secret-access-key": "OHLCV_S3_SECRET_KEY",
}
_KINDS: dict[str, type[Catalog]] = {
    "sqlite": SqliteCatalog,
    "postgresql": PostgresqlCatalog,
    "http": RestCatalog,
    "https": RestCatalog,
}


def read_settings(values: Mapping[str, str], home: Path) -> Catalog:
    """Return the catalog of the settings, by default the embedded SQLite catalog in `home`."""
    text = values.get("OHLCV_CATALOG_URI")
    kind, uri = _address(text) if text else (SqliteCatalog, f"sqlite:///{home / 'catalog.db'}")
    of_service = kind is RestCatalog
    warehouse = warehouse_location("OHLCV_WAREHOUSE", values.get("OHLCV_WAREHOUSE"), home, of_service=of_service)
    store = s3_store(values, warehouse, of_service=of_service)
    secrets = {key: found for name, (key, _) in _SECRETS.items() if (found := _secret(values, name, kind, uri))}
    environment = {name: found for name in SECRET_NAMES if (found := secret(values, name))}
    properties = {
        "uri": uri,
        **secrets,
        **_rest_options(values, kind, uri, secrets),
        **(store.properties if store else {}),
    }
    return kind(CatalogDescription(DEFAULT_NAME, properties, _SETTING_NAMES, environment), warehouse, store)


def _address(text: str) -> tuple[type[Catalog], str]:
    name = "OHLCV_CATALOG_URI"
    kind = _KINDS.get(text.partition("://")[0])
    if kind is None:
        raise InputError(f"{name} is '{redacted(text)}': use sqlite, postgresql, http or https")
    if kind is RestCatalog:
        if not is_web_address(text):
            raise InputError(
                f"{name} is '{redacted(text)}': give an address such as http://host:19120/iceberg, "
                "without user, password or query (a token is OHLCV_CATALOG_TOKEN or …_FILE)"
            )
        return kind, text.rstrip("/")
    if kind is PostgresqlCatalog:
        postgresql_address(name, text, None, with_password=False)
        return kind, text
    return kind, f"sqlite:///{sqlite_path(name, text)}"


def _rest_options(
    values: Mapping[str, str], kind: type[Catalog], uri: str, secrets: Mapping[str, str]
) -> dict[str, str]:
    """Return the properties of a REST catalog that are not secret."""
    given = {key: values[name] for name, key in _REST_OPTIONS.items() if values.get(name)}
    for key in given:
        name = _SETTING_NAMES[key]
        if kind is not RestCatalog:
            raise InputError(f"{name} is for a REST catalog, but OHLCV_CATALOG_URI is {uri}: remove it")
        if key != "ssl.cabundle" and "credential" not in secrets:
            raise InputError(f"{name} is set without OHLCV_CATALOG_CREDENTIAL (or …_FILE): set it too")
    if {"token", "credential"} <= secrets.keys():
        raise InputError("OHLCV_CATALOG_TOKEN and OHLCV_CATALOG_CREDENTIAL are both set: remove one of them")
    web_address(values, "OHLCV_CATALOG_OAUTH2_URI")
    if bundle := given.get("ssl.cabundle"):
        given["ssl.cabundle"] = absolute_path("OHLCV_CATALOG_CA_FILE", bundle)
        check_certificates("OHLCV_CATALOG_CA_FILE", given["ssl.cabundle"])
    return given


def _secret(values: Mapping[str, str], name: str, kind: type[Catalog], uri: str) -> str | None:
    """Return a secret of the catalog. Raise InputError if this kind of catalog does not use it."""
    found = secret(values, name)
    expected = _SECRETS[name][1]
    if found is not None and kind.kind != expected:
        used = {"postgresql": "a PostgreSQL catalog", "rest": "a REST catalog"}[expected]
        raise InputError(f"{name} is for {used}, but OHLCV_CATALOG_URI is {uri}: remove it")
    if name == "OHLCV_CATALOG_TOKEN" and found is not None:
        check_token(name, found)
    return found
