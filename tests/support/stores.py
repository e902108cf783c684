"""S3 server (versitygw on a folder) and Iceberg REST catalog (Nessie in memory) for tests."""

from __future__ import annotations

import json
import os
import secrets
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ohlcv.spark.processes import HOST, free_port, start, stop, wait_for_line
from support.server_programs import java_21, nessie, versitygw

REGION = "us-east-1"


@dataclass(frozen=True)
class ObjectStore:
    """A running S3 server. A bucket is a folder below `folder`."""

    endpoint: str
    access_key: str
    folder: Path
    secret_key: str = field(repr=False)

    def new_bucket(self) -> str:
        """Create an empty bucket and return its name."""
        name = f"bucket-{secrets.token_hex(4)}"
        (self.folder / name).mkdir()
        return name

    @property
    def environment(self) -> dict[str, str]:
        """Return the settings of this store."""
        return {
            "OHLCV_S3_ENDPOINT": self.endpoint,
            "OHLCV_S3_REGION": REGION,
            "OHLCV_S3_ACCESS_KEY": self.access_key,
            "OHLCV_S3_SECRET_KEY": self.secret_key,
        }


@contextmanager
def object_store(folder: Path) -> Iterator[ObjectStore]:
    """Run an S3 server on a new folder. Its log is s3.log."""
    port = free_port()
    store = ObjectStore(f"http://{HOST}:{port}", secrets.token_hex(8), folder / "buckets", secrets.token_hex(16))
    store.folder.mkdir(parents=True)
    keys = {"ROOT_ACCESS_KEY": store.access_key, "ROOT_SECRET_KEY": store.secret_key}
    # Without the sidecar folder versitygw stores metadata in extended attributes, which some file systems lack.
    (folder / "sidecar").mkdir()
    command = [str(versitygw()), "--port", f"{HOST}:{port}", "--quiet"]
    command += ["posix", "--sidecar", str(folder / "sidecar"), str(store.folder)]
    process = start(command, {**os.environ, **keys}, folder / "s3.log")
    try:
        _await_port(port, process.poll, folder / "s3.log")
        yield store
    finally:
        stop(process, grace_seconds=10)


def _await_port(port: int, poll: Any, log: Path) -> None:
    import socket
    import time

    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
            return
        except OSError:
            if poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the S3 server did not start:\n{log.read_text()}") from None
            time.sleep(0.05)


@dataclass(frozen=True)
class RestCatalog:
    """A running Iceberg REST catalog whose tables are in an object store."""

    address: str
    store: ObjectStore

    def new_branch(self) -> dict[str, str]:
        """Create an empty Nessie branch, which is a catalog of its own, and return its settings."""
        name = f"test-{secrets.token_hex(4)}"
        [main] = [each for each in self._request("trees")["references"] if each["name"] == "main"]
        self._request(f"trees?name={name}&type=BRANCH", main)
        return {
            "OHLCV_CATALOG_URI": f"{self.address}/iceberg/{name}",
            "OHLCV_WAREHOUSE": "candles",
            **self.store.environment,
        }

    def _request(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.address}/api/v2/{path}", data, {"Content-Type": "application/json", "Accept": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)


@contextmanager
def rest_catalog(folder: Path, store: ObjectStore) -> Iterator[RestCatalog]:
    """Run Nessie with its metadata in memory. Its log is nessie.log."""
    port = free_port()
    s3 = "nessie.catalog.service.s3.default-options"
    settings = {
        "quarkus.http.host": HOST,
        "quarkus.http.port": port,
        "quarkus.management.host": HOST,
        "quarkus.management.port": free_port(),
        "quarkus.otel.sdk.disabled": "true",
        "nessie.catalog.default-warehouse": "candles",
        "nessie.catalog.warehouses.candles.location": f"s3://{store.new_bucket()}/candles",
        f"{s3}.endpoint": store.endpoint,
        f"{s3}.path-style-access": "true",
        f"{s3}.region": REGION,
        f"{s3}.access-key": "urn:nessie-secret:quarkus:keys",
        "keys.name": store.access_key,
        "keys.secret": store.secret_key,
    }
    (folder / "config").mkdir(parents=True)
    properties = "".join(f"{name}={value}\n" for name, value in settings.items())
    (folder / "config" / "application.properties").write_text(properties)
    command = [str(java_21()), "-Xmx512m", "-XX:TieredStopAtLevel=1"]
    command += [f"-Dquarkus.config.locations={folder}/config/application.properties", "-jar", str(nessie())]
    process = start(command, dict(os.environ), folder / "nessie.log")
    try:
        wait_for_line(process, folder / "nessie.log", r"Listening on: \S+")
        yield RestCatalog(f"http://{HOST}:{port}", store)
    finally:
        stop(process, grace_seconds=30)
