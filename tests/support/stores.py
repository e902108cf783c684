"""S3 server (versitygw on a folder) and Iceberg REST catalog (Nessie in memory) for tests."""

from __future__ import annotations

import json
import os
import secrets
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ohlcv.spark.processes import HOST, free_port, start, stop, wait_for_line
from support.catalog_servers.certificates import Certificate
from support.catalog_servers.issuer import Issuer
from support.processes import wait_for
from support.server_programs import java_21, nessie, versitygw

REGION = "us-east-1"


class S3Server(Protocol):
    """What the server of a catalog needs of its S3 server."""

    @property
    def endpoint(self) -> str: ...
    @property
    def access_key(self) -> str: ...
    @property
    def secret_key(self) -> str: ...

    def new_bucket(self) -> str:
        """Create an empty bucket and return its name."""


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
def object_store(folder: Path, certificate: Certificate | None = None) -> Iterator[ObjectStore]:
    """Run an S3 server on a folder, with TLS if it has a certificate. Its log is s3.log, or s3-tls.log."""
    port, scheme = free_port(), "https" if certificate else "http"
    store = ObjectStore(f"{scheme}://{HOST}:{port}", secrets.token_hex(8), folder / "buckets", secrets.token_hex(16))
    keys = {"ROOT_ACCESS_KEY": store.access_key, "ROOT_SECRET_KEY": store.secret_key}
    # Without the sidecar folder versitygw stores metadata in extended attributes, which some file systems lack.
    for each in (store.folder, folder / "sidecar", folder / "users"):
        each.mkdir(parents=True, exist_ok=True)
    command = [str(versitygw()), "--port", f"{HOST}:{port}", "--quiet", "--iam-dir", str(folder / "users")]
    command += ["--cert", str(certificate.file), "--key", str(certificate.key)] if certificate else []
    command += ["posix", "--sidecar", str(folder / "sidecar"), str(store.folder)]
    log = folder / ("s3-tls.log" if certificate else "s3.log")
    process = start(command, {**os.environ, **keys}, log)
    try:
        wait_for(lambda: accepts_connections(port) or process.poll() is not None, f"the S3 server, see {log}")
        assert process.poll() is None, log.read_text()
        yield store
    finally:
        stop(process, grace_seconds=10)


def accepts_connections(port: int) -> bool:
    """Return whether a server listens on a port of the loopback address."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class RestCatalog:
    """A running Iceberg REST catalog whose tables are in an object store."""

    address: str
    store: ObjectStore
    # None: no token is needed.
    issuer: Issuer | None = None

    def new_branch_name(self) -> str:
        """Create an empty Nessie branch, which is a catalog of its own, and return its name."""
        name = f"test-{secrets.token_hex(4)}"
        [main] = [each for each in self._request("trees")["references"] if each["name"] == "main"]
        self._request(f"trees?name={name}&type=BRANCH", main)
        return name

    def new_branch(self) -> dict[str, str]:
        """Create an empty branch and return its settings with a token."""
        token = {} if self.issuer is None else {"OHLCV_CATALOG_TOKEN": self.issuer.token("tests")}
        return {
            "OHLCV_CATALOG_URI": f"{self.address}/iceberg/{self.new_branch_name()}",
            "OHLCV_WAREHOUSE": "candles",
            **token,
            **self.store.environment,
        }

    def _request(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        token = {} if self.issuer is None else {"Authorization": f"Bearer {self.issuer.token('tests')}"}
        types = {"Content-Type": "application/json", "Accept": "application/json"}
        request = urllib.request.Request(f"{self.address}/api/v2/{path}", data, {**types, **token})
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)


@contextmanager
def rest_catalog(folder: Path, store: ObjectStore, issuer: Issuer | None = None) -> Iterator[RestCatalog]:
    """Run Nessie with its metadata in memory, and with the tokens of an issuer. Its log is nessie.log."""
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
    if issuer is not None:
        settings |= {
            "nessie.server.authentication.enabled": "true",
            "quarkus.oidc.auth-server-url": issuer.address,
            "quarkus.oidc.client-id": "nessie",
        }
    (folder / "config").mkdir(parents=True)
    properties = "".join(f"{name}={value}\n" for name, value in settings.items())
    (folder / "config" / "application.properties").write_text(properties)
    command = [str(java_21()), "-Xmx512m", "-XX:TieredStopAtLevel=1"]
    command += [f"-Dquarkus.config.locations={folder}/config/application.properties", "-jar", str(nessie())]
    process = start(command, dict(os.environ), folder / "nessie.log")
    try:
        wait_for_line(process, folder / "nessie.log", r"Listening on: \S+")
        yield RestCatalog(f"http://{HOST}:{port}", store, issuer)
    finally:
        stop(process, grace_seconds=30)
