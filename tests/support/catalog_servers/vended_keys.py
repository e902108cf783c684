"""S3 keys that a REST catalog vends: each pair is a user of versitygw that is deleted when the keys expire."""

from __future__ import annotations

import json
import secrets
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from support.server_programs import versitygw
from support.stores import REGION, ObjectStore


@dataclass
class KeyVendor:
    """Keys of an object store that are valid for some seconds. Their lifetime can change at any time."""

    store: ObjectStore
    lifetime: float = 3600.0
    vended: int = 0
    expired: int = 0
    _current: tuple[str, str, float] | None = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def credentials(self) -> list[dict[str, Any]]:
        """Return storage credentials in the notation of the REST catalog."""
        with self._lock:
            # Half of the lifetime is left at least, so that a client can use the keys.
            if self._current is None or self._current[2] - time.time() < self.lifetime / 2:
                self._current = self._new_keys()
            access_key, secret_key, _ = self._current
        config = {
            "s3.access-key-id": access_key,
            "s3.secret-access-key": secret_key,
        }
        return [{"prefix": "s3://", "config": config}]

    def add_to(self, content: bytes, path: str) -> bytes:
        """Add keys to the answer that describes a table. Other answers stay as they are."""
        document = json.loads(content) if content else {}
        if "metadata-location" not in document and "metadata" not in document:
            return content
        if "/views" in path:
            return content
        credentials = self.credentials()
        document["config"] = {
            **document.get("config", {}),
            **credentials[0]["config"],
            "s3.endpoint": self.store.endpoint,
            "s3.path-style-access": "true",
            "client.region": REGION,
            "s3.region": REGION,
        }
        document["storage-credentials"] = credentials
        return json.dumps(document).encode()

    def _new_keys(self) -> tuple[str, str, float]:
        access_key, secret_key = f"vended-{secrets.token_hex(6)}", secrets.token_hex(16)
        self._admin("create-user", "--access", access_key, "--secret", secret_key, "--role", "admin")
        self.vended += 1
        timer = threading.Timer(self.lifetime, self._expire, (access_key,))
        timer.daemon = True
        timer.start()
        return access_key, secret_key, time.time() + self.lifetime

    def _expire(self, access_key: str) -> None:
        # The server may have ended before the keys expire.
        done = self._run("delete-user", "--access", access_key)
        self.expired += done.returncode == 0

    def _admin(self, *arguments: str) -> None:
        done = self._run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        login = ["--access", self.store.access_key, "--secret", self.store.secret_key]
        command = [str(versitygw()), "admin", *login, "--endpoint-url", self.store.endpoint, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)
