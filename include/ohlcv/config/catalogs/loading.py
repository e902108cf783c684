"""Selection of the catalog: by OHLCV_CATALOG from pyiceberg's configuration, otherwise by the short form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ohlcv.config.catalogs.adapters import (
    Catalog,
    CustomCatalog,
    GlueCatalog,
    HiveCatalog,
    PostgresqlCatalog,
    RestCatalog,
    SqliteCatalog,
)
from ohlcv.config.catalogs.description import CatalogDescription
from ohlcv.config.catalogs.pyiceberg_form import check_name, read_properties, variable
from ohlcv.config.catalogs.rest_properties import check_rest, with_flat_authentication
from ohlcv.config.catalogs.short_form import SECRET_NAMES, SHORT_FORM, read_settings
from ohlcv.config.catalogs.sql_address import sqlite_path
from ohlcv.config.storage import DEFAULT_REGION, S3Store, warehouse_location
from ohlcv.config.values import redacted, secret
from ohlcv.model.errors import InputError

LOCKING = "OHLCV_CATALOG_LOCKING"
CATALOG_NAMES = ("OHLCV_CATALOG", LOCKING, *SHORT_FORM)
_KINDS: Mapping[str, type[Catalog]] = {
    "rest": RestCatalog,
    "glue": GlueCatalog,
    "hive": HiveCatalog,
    "sqlite": SqliteCatalog,
    "postgresql": PostgresqlCatalog,
}
# Scheme of `uri` -> type, as pyiceberg infers it.
_TYPES = {"http": "rest", "https": "rest", "thrift": "hive", "sqlite": "sql", "postgresql": "sql"}
# Catalogs that lose or delete files under concurrent or unconfirmed commits, and names of their types.
_UNSAFE = ("hadoop", "jdbc", "in-memory")
_IMPLEMENTATIONS = ("catalog-impl", "py-catalog-impl")
# Properties that only pyiceberg's client of Glue knows. Both clients read the variables of AWS.
_PYICEBERG_ONLY = (
    *("glue.access-key-id", "glue.secret-access-key", "glue.session-token", "glue.profile-name"),
    *("client.access-key-id", "client.secret-access-key", "client.session-token", "client.profile-name"),
)


def load_catalog(values: Mapping[str, str], home: Path) -> Catalog:
    """Return the catalog that the settings select."""
    name = values.get("OHLCV_CATALOG")
    if not name:
        if values.get(LOCKING):
            raise InputError(f"{LOCKING} is for a catalog that OHLCV_CATALOG selects: remove it")
        return read_settings(values, home)
    check_name(name)
    if other := _find_short_form(values):
        raise InputError(
            f"OHLCV_CATALOG and {other} are both set: remove one of them (OHLCV_CATALOG takes all properties from "
            "pyiceberg's configuration)"
        )
    return _from_configuration(name, read_properties(values, name), values.get(LOCKING) or "")


def _find_short_form(values: Mapping[str, str]) -> str | None:
    for name in SHORT_FORM:
        base = name.removesuffix("_FILE")
        # A deployment mounts the files of all secrets, used or not.
        if values.get(name) and (base not in SECRET_NAMES or secret(values, base) is not None):
            return name
    return None


def _from_configuration(name: str, given: dict[str, str], locking: str) -> Catalog:
    place = f"the catalog {name}"
    kind = _kind(place, given, locking)
    properties = with_flat_authentication(place, {key: value for key, value in given.items() if key != "type"})
    if kind is SqliteCatalog:
        file = sqlite_path(f"'uri' of {place}", properties["uri"])
        properties["uri"] = f"sqlite:///{file}"
    elif kind is RestCatalog:
        check_rest(place, properties)
    elif kind is GlueCatalog and (unknown := [key for key in _PYICEBERG_ONLY if key in properties]):
        raise InputError(
            f"'{unknown[0]}' of {place} is unknown to Spark's client of Glue: set AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY or AWS_PROFILE instead, which both clients read"
        )
    elif kind is CustomCatalog and "type" in given:
        own = dict(zip(("spark.type", "pyiceberg.type"), _IMPLEMENTATIONS, strict=True))
        properties |= {key: given["type"] for key, implementation in own.items() if implementation not in given}
    of_service = kind not in (SqliteCatalog, PostgresqlCatalog)
    warehouse = warehouse_location(f"'warehouse' of {place}", properties.get("warehouse"), None, of_service=of_service)
    own_type = {"type": given["type"]} if "type" in given else {}
    environment = {variable(name, key): value for key, value in {**properties, **own_type}.items()}
    description = CatalogDescription(name, properties, environment=environment)
    catalog = kind(description, warehouse, _store(place, properties, warehouse))
    str(catalog)  # checks the address of a PostgreSQL catalog
    return catalog


def _kind(place: str, given: Mapping[str, str], locking: str) -> type[Catalog]:
    """Return the class of the catalog. Raise InputError if its type is unknown and the locking is not set."""
    found, uri = given.get("type", "").lower(), given.get("uri", "")
    scheme = uri.partition("://")[0].partition("+")[0].lower()
    custom = [key for key in _IMPLEMENTATIONS if key in given]
    if not found and not custom:
        found = _TYPES.get(scheme, "")
        if not found:
            raise InputError(f"{place} has no 'type': set it to sql, rest, glue or hive")
    shown = f"'{custom[0]}'" if custom else f"type '{found[:50]}'"
    if any(unsafe in f"{found} {given.get('catalog-impl', '')}".lower() for unsafe in _UNSAFE):
        raise InputError(
            f"{place} has the {shown}, which is not safe for concurrent writers: use sql, rest, glue or hive"
        )
    if not custom and found in ("sql", "rest", "glue", "hive"):
        if locking:
            raise InputError(f"{LOCKING} is for a catalog-impl, and {place} has the {shown}: remove it")
        return _known_kind(place, found, scheme, uri)
    if locking != "server-check":
        raise InputError(
            f"{place} has the {shown}, and how it detects concurrent commits is not known: set {LOCKING}=server-check "
            "if it never reports a successful commit as failed, otherwise use sql, rest, glue or hive"
        )
    return CustomCatalog


def _known_kind(place: str, found: str, scheme: str, uri: str) -> type[Catalog]:
    if found != "glue" and not uri:
        raise InputError(f"{place} has no 'uri': set its address")
    if _TYPES.get(scheme) != found and found != "glue":
        schemes = " or ".join(f"{each}://" for each, kind in _TYPES.items() if kind == found)
        raise InputError(f"'uri' of {place} is '{redacted(uri)}': use {schemes} for the type {found}")
    return _KINDS[scheme if found == "sql" else found]


def _store(place: str, properties: Mapping[str, str], warehouse: str) -> S3Store | None:
    """Return the S3 store that the properties describe."""
    access_key, secret_key = (
        properties.get(f"s3.{key}") or properties.get(f"client.{key}") for key in ("access-key-id", "secret-access-key")
    )
    if (access_key is None) != (secret_key is None):
        missing = "s3.access-key-id" if access_key is None else "s3.secret-access-key"
        raise InputError(
            f"'{missing}' of {place} is missing: set both keys of the S3 store, or neither to use the default AWS "
            "credentials or those of the catalog's service"
        )
    endpoint = properties.get("s3.endpoint")
    if not (warehouse.startswith("s3://") or endpoint or access_key):
        return None
    region = properties.get("s3.region") or properties.get("client.region") or DEFAULT_REGION
    token = properties.get("s3.session-token") or properties.get("client.session-token")
    return S3Store(endpoint, region, access_key, secret_key, token)
