"""The catalog: the one place from which pyiceberg's properties and Spark's configuration derive."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from ohlcv.config.settings import Settings
from ohlcv.config.storage import CatalogAddress, S3Store

# Part of the tables' keys in the catalog's database: Spark and pyiceberg must use the same.
CATALOG_NAME = "iceberg"
# SQLite lets one writer in at a time; the others wait this long.
SQLITE_WAIT_SECONDS = 60
# Who reads and writes files in an S3 store.
PYICEBERG_FILES = "pyiceberg.io.pyarrow.PyArrowFileIO"
SPARK_FILES = "org.apache.iceberg.aws.s3.S3FileIO"


# What both sides ask of a REST catalog: files are read and written with the keys set here, not with signatures or
# keys the service would lend. Iceberg's own default asks for lent ones, and services differ in what they lend.
REST_PROPERTIES = {
    "header.X-Iceberg-Access-Delegation": "none",
    "s3.remote-signing-enabled": "false",
    # Of services that do not list what they can: Nessie can do views. Those that list it are believed.
    "view-endpoints-supported": "true",
}
# Spark leaves the values of such names out of what it shows. Its own pattern knows access.key, not access-key.
REDACTED = "(?i)secret|password|token|access[.-]?key"


def pyiceberg_properties(settings: Settings) -> dict[str, str]:
    """Give the catalog as pyiceberg wants it."""
    address = settings.catalog
    if address.engine == "rest":
        catalog = {"type": "rest", **_rest(settings)}
    elif address.engine == "sqlite":
        catalog = {"type": "sql", "uri": f"sqlite:///{address.database}?timeout={SQLITE_WAIT_SECONDS}"}
    else:
        # The driver is named: SQLAlchemy's default for a bare postgresql:// changes with its version.
        login = quote(address.user, safe="") + (
            f":{quote(settings.catalog_password, safe='')}" if settings.catalog_password else ""
        )
        uri = f"postgresql+psycopg://{login}@{address.host}:{address.port}/{quote(address.database)}"
        catalog = {"type": "sql", "uri": uri + _options(address)}
    store = settings.store
    files = {} if store is None else {"py-io-impl": PYICEBERG_FILES, "s3.region": store.region, **_s3(store)}
    return {**catalog, **_warehouse(settings), **files}


def spark_properties(settings: Settings) -> dict[str, str]:
    """Give the catalog as Spark wants it.

    The job sets these on its session from its environment; none travels on a command line.
    """
    address = settings.catalog
    if address.engine == "rest":
        catalog = {"type": "rest", **_rest(settings)}
    elif address.engine == "sqlite":
        # Write-ahead logging lets readers go on while a commit is written.
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
        # A bucket as a part of the host's name needs a name service that knows it: only AWS has one.
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
    """Give what both sides call by the same names."""
    values = {
        "s3.endpoint": store.endpoint,
        "s3.access-key-id": store.access_key,
        "s3.secret-access-key": store.secret_key,
    }
    return {name: value for name, value in values.items() if value}
