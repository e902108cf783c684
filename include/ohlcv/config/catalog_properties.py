"""Catalog properties for pyiceberg and for Spark, derived from the settings."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from ohlcv.config.settings import Settings
from ohlcv.config.storage import CatalogAddress, S3Store

# Part of the primary key of tables in a SQL catalog, so Spark and pyiceberg must use the same name.
CATALOG_NAME = "iceberg"
# SQLite allows one writer at a time. Other writers wait up to this time.
SQLITE_WAIT_SECONDS = 60
# The access of pyiceberg to files: by pyarrow, with a check of metadata files.
PYICEBERG_FILES = "ohlcv.iceberg.file_io.CheckingFileIO"
# The access of Spark to an S3 store.
SPARK_FILES = "org.apache.iceberg.aws.s3.S3FileIO"

# Properties of a REST catalog for pyiceberg and Spark. Files are accessed with the configured keys, not with remote
# signing or vended credentials. Iceberg requests vended credentials by default, and services differ in their support.
REST_PROPERTIES = {
    "header.X-Iceberg-Access-Delegation": "none",
    "s3.remote-signing-enabled": "false",
    # For services that do not list their endpoints, such as Nessie, which supports views. A list takes precedence.
    "view-endpoints-supported": "true",
}
# Spark hides the values of properties whose names match. Its default pattern has access.key, but not access-key.
REDACTED = "(?i)secret|password|token|access[.-]?key"


def pyiceberg_properties(settings: Settings) -> dict[str, str]:
    """Return the catalog properties for pyiceberg."""
    address = settings.catalog
    if address.engine == "rest":
        catalog = {"type": "rest", **_rest(settings)}
    elif address.engine == "sqlite":
        catalog = {"type": "sql", "uri": f"sqlite:///{address.database}?timeout={SQLITE_WAIT_SECONDS}"}
    else:
        # The driver is explicit, because the default of SQLAlchemy for postgresql:// depends on its version.
        login = quote(address.user, safe="") + (
            f":{quote(settings.catalog_password, safe='')}" if settings.catalog_password else ""
        )
        uri = f"postgresql+psycopg://{login}@{address.host}:{address.port}/{quote(address.database)}"
        catalog = {"type": "sql", "uri": uri + _options(address)}
    store = settings.store
    # The service of a REST catalog decides about the access to files that no setting describes.
    files = {} if address.engine == "rest" and store is None else {"py-io-impl": PYICEBERG_FILES}
    if store is not None:
        files |= {"s3.region": store.region, **_s3(store)}
    return {**catalog, **_warehouse(settings), **files}


def spark_properties(settings: Settings) -> dict[str, str]:
    """Return the catalog properties for Spark.

    The job reads the settings from its environment and sets the properties on its session, so that no secret is on a
    command line.
    """
    address = settings.catalog
    if address.engine == "rest":
        catalog = {"type": "rest", **_rest(settings)}
    elif address.engine == "sqlite":
        # With write-ahead logging readers are not blocked by a commit.
        wait = f"journal_mode=WAL&busy_timeout={SQLITE_WAIT_SECONDS * 1000}"
        catalog = {"type": "jdbc", "jdbc.schema-version": "V1", "uri": f"jdbc:sqlite:{address.database}?{wait}"}
    else:
        catalog = {
            "type": "jdbc",
            "jdbc.schema-version": "V1",
            "uri": f"jdbc:postgresql://{address.host}:{address.port}/{quote(address.database)}{_options(address)}",
            "jdbc.user": address.user,
            "jdbc.password": settings.catalog_password or "",
        }
    store = settings.store
    files = {}
    if store is not None:
        # Virtual-hosted-style addresses need a DNS entry for each bucket, which only AWS provides.
        style = {"s3.path-style-access": "true"} if store.endpoint else {}
        files = {"io-impl": SPARK_FILES, "client.region": store.region, **style, **_s3(store)}
    prefix = f"spark.sql.catalog.{CATALOG_NAME}"
    return {
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        prefix: "org.apache.iceberg.spark.SparkCatalog",
        **{f"{prefix}.{name}": value for name, value in {**catalog, **_warehouse(settings), **files}.items()},
    }


def _options(address: CatalogAddress) -> str:
    return f"?{urlencode(address.options)}" if address.options else ""


def _rest(settings: Settings) -> dict[str, str]:
    token = {"token": settings.catalog_token} if settings.catalog_token else {}
    return {"uri": settings.catalog.database, **REST_PROPERTIES, **token}


def _warehouse(settings: Settings) -> dict[str, str]:
    return {"warehouse": settings.warehouse} if settings.warehouse else {}


def _s3(store: S3Store) -> dict[str, str]:
    """Return the S3 properties that have the same names in pyiceberg and Spark."""
    values = {
        "s3.endpoint": store.endpoint,
        "s3.access-key-id": store.access_key,
        "s3.secret-access-key": store.secret_key,
    }
    return {name: value for name, value in values.items() if value}
