"""S3 keys that the service of a catalog vends for one table, renewed while they are used.

pyiceberg keeps the keys with which a table was loaded. They expire after an hour or less.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from pyarrow.fs import FileSystem
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.typedef import Properties

# Property with the time when the keys expire. Services that vend lasting keys do not send it.
EXPIRY = "s3.session-token-expires-at-ms"
# Keys are renewed so long before they expire, as by Iceberg's Java library, or after half of a shorter life.
MARGIN_SECONDS = 300.0


class RenewedFileSystems:
    """File systems of a table by scheme and bucket. New keys are loaded before the last ones expire."""

    def __init__(self, properties: Properties, load: Callable[[], Properties]) -> None:
        """`load` returns properties with new keys."""
        self._load = load
        self._lock = threading.Lock()
        self._use(properties)

    def __call__(self, scheme: str, bucket: str | None = None) -> FileSystem:
        """Return the file system of a bucket."""
        with self._lock:
            if time.time() >= self._renewal:
                self._renew()
            return self._file_systems(scheme, bucket)

    def _renew(self) -> None:
        try:
            properties = self._load()
        except Exception:
            # The catalog may answer again before the keys expire.
            self._schedule()
            if time.time() >= self._expiry:
                raise
        else:
            self._use(properties)

    def _use(self, properties: Properties) -> None:
        self._file_systems = PyArrowFileIO(properties).fs_by_scheme
        self._expiry = float(properties[EXPIRY]) / 1000 if EXPIRY in properties else float("inf")
        self._schedule()

    def _schedule(self) -> None:
        now = time.time()
        self._renewal = now + max(self._expiry - now - MARGIN_SECONDS, (self._expiry - now) / 2)
