"""Trust of a job in the private certificate authority of its catalog: of its JVMs, and of their native S3 client."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pyspark import SparkConf, SparkContext

from ohlcv.config.catalogs.adapters import Catalog
from ohlcv.spark.trust_store import PASSWORD, write_authorities, write_trust_store
from spark_jobs.runtime.py4j_bridge import java_class

STORE_NAME, AUTHORITIES_NAME = "ohlcv-trust.p12", "ohlcv-authorities.pem"
_STORE, _PASSWORD = "javax.net.ssl.trustStore", "javax.net.ssl.trustStorePassword"


def trust_private_authority(catalog: Catalog) -> dict[str, str]:
    """Make this driver trust the authority. Return the properties that make its executors trust it."""
    if catalog.private_authority is None:
        return {}
    folder = Path(tempfile.mkdtemp(prefix="ohlcv-trust-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    store = folder / STORE_NAME
    write_trust_store(store, catalog.private_authority)
    authorities = folder / AUTHORITIES_NAME
    write_authorities(authorities, catalog.private_authority)
    SparkContext._ensure_initialized()
    # Java reads these properties at its first TLS connection.
    system = java_class("java.lang.System")
    system.setProperty(_STORE, str(store))
    system.setProperty(_PASSWORD, PASSWORD)
    return executor_properties(store, authorities, dict(SparkConf().getAll()))


def executor_properties(store: Path, authorities: Path, submitted: Mapping[str, str]) -> dict[str, str]:
    """Return the properties that copy both files to each executor's working folder and make the executor use them."""
    files, options = "spark.files", "spark.executor.extraJavaOptions"
    own = f"-D{_STORE}={STORE_NAME} -D{_PASSWORD}={PASSWORD}"
    return {
        files: ",".join(filter(None, (submitted.get(files), str(store), str(authorities)))),
        options: f"{submitted.get(options, '')} {own}".strip(),
        # The native S3 client does not use the trust store of Java.
        "spark.executorEnv.SSL_CERT_FILE": AUTHORITIES_NAME,
    }
