"""Iceberg's REST catalog for tests: a JDBC catalog on SQLite behind HTTP, with the whole history of a table."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ohlcv.spark.jars import jar_paths
from ohlcv.spark.processes import free_port, start, stop, wait_for_line
from ohlcv.spark.toolchain import java_home, packaged_spark_home
from support.server_programs import iceberg_rest
from support.stores import REGION, S3Server

SERVER = "org.apache.iceberg.rest.RESTCatalogServer"
# Clients of the backend, whose classes are not in the jars of the server.
SPARK_JARS = ("hadoop-client-*.jar", "log4j-*.jar", "commons-logging-*.jar")


@dataclass(frozen=True)
class IcebergRestServer:
    """A running server, which checks no tokens."""

    address: str
    bucket: str
    _database: Path

    def clear(self) -> None:
        """Remove all tables, views and namespaces. The server caches none of them."""
        with closing(sqlite3.connect(self._database, timeout=60)) as connection, connection:
            for table in ("iceberg_tables", "iceberg_namespace_properties"):
                connection.execute(f"DELETE FROM {table}")


@contextmanager
def iceberg_rest_server(folder: Path, store: S3Server) -> Iterator[IcebergRestServer]:
    """Run the server with its tables in a new bucket. Its log is iceberg-rest.log."""
    port, bucket, database = free_port(), store.new_bucket(), folder / "catalog.db"
    properties = {
        "catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
        "uri": f"jdbc:sqlite:{database}?busy_timeout=60000",
        "jdbc.schema-version": "V1",
        # SQLite has one writer at a time.
        "clients": "1",
        "warehouse": f"s3://{bucket}/candles",
        "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        "s3.endpoint": store.endpoint,
        "s3.path-style-access": "true",
        "s3.access-key-id": store.access_key,
        "s3.secret-access-key": store.secret_key,
        "client.region": REGION,
        "rest.port": str(port),
    }
    variables = {
        "CATALOG_" + name.upper().replace("-", "__").replace(".", "_"): value for name, value in properties.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    spark = [path for pattern in SPARK_JARS for path in (packaged_spark_home() / "jars").glob(pattern)]
    [sqlite] = [path for path in jar_paths() if "sqlite" in path.name]
    class_path = ":".join(map(str, [f"{iceberg_rest()}/*", sqlite, *spark]))
    command = [str(java_home() / "bin" / "java"), "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", class_path, SERVER]
    process = start(command, {**os.environ, **variables}, folder / "iceberg-rest.log")
    try:
        wait_for_line(process, folder / "iceberg-rest.log", r"Started Server@\S+")
        yield IcebergRestServer(f"http://127.0.0.1:{port}", bucket, database)
    finally:
        stop(process)
