"""The catalog: the one place from which pyiceberg's properties and Spark's configuration derive."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from ohlcv.settings import Settings

# Part of the tables' keys in the catalog's database: Spark and pyiceberg must use the same.
CATALOG_NAME = "iceberg"
# SQLite lets one writer in at a time; the others wait this long.
SQLITE_WAIT_SECONDS = 60


def pyiceberg_properties(settings: Settings) -> dict[str, str]:
    """Give the catalog as pyiceberg wants it."""
    address = settings.catalog
    if address.engine == "sqlite":
        uri = f"sqlite:///{address.database}?timeout={SQLITE_WAIT_SECONDS}"
    else:
        # The driver is named: SQLAlchemy's default for a bare postgresql:// changes with its version.
        login = quote(address.user, safe="") + (
            f":{quote(settings.catalog_password, safe='')}" if settings.catalog_password else ""
        )
        uri = f"postgresql+psycopg://{login}@{address.host}:{address.port}/{quote(address.database)}"
        uri += f"?{urlencode(address.options)}" if address.options else ""
    return {"type": "sql", "uri": uri, "warehouse": settings.warehouse}


def spark_properties(settings: Settings) -> dict[str, str]:
    """Give the catalog as Spark wants it.

    The job sets these on its session from its environment; none travels on a command line.
    """
    address = settings.catalog
    if address.engine == "sqlite":
        # Write-ahead logging lets readers go on while a commit is written.
        jdbc = {"uri": f"jdbc:sqlite:{address.database}?journal_mode=WAL&busy_timeout={SQLITE_WAIT_SECONDS * 1000}"}
    else:
        options = f"?{urlencode(address.options)}" if address.options else ""
        jdbc = {
            "uri": f"jdbc:postgresql://{address.host}:{address.port}/{quote(address.database)}{options}",
            "jdbc.user": address.user,
            "jdbc.password": settings.catalog_password or "",
        }
    catalog = {"type": "jdbc", "jdbc.schema-version": "V1", "warehouse": settings.warehouse, **jdbc}
    prefix = f"spark.sql.catalog.{CATALOG_NAME}"
    return {
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        prefix: "org.apache.iceberg.spark.SparkCatalog",
        **{f"{prefix}.{name}": value for name, value in catalog.items()},
    }
