"""S3 keys that a REST catalog vends: users of versitygw, or sessions that expire."""

from __future__ import annotations

import json
import secrets
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from support.server_programs import versitygw
from support.stores import REGION, ObjectStore


class KeyVendor(ABC):
    """Keys of an object store in the answers of a REST catalog."""

    @property
    @abstractmethod
    def endpoint(self) -> str:
        """Return the address of the store."""

    @abstractmethod
    def keys(self) -> dict[str, str]:
        """Return keys as properties of the catalog's clients."""

    def properties(self) -> dict[str, str]:
        """Return further properties for the answer that describes a table."""
        return {}

    def credentials(self) -> list[dict[str, Any]]:
        """Return storage credentials in the notation of the REST catalog."""
        return [{"prefix": "s3://", "config": self.keys()}]

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
            "s3.endpoint": self.endpoint,
            "s3.path-style-access": "true",
            "client.region": REGION,
            "s3.region": REGION,
            **self.properties(),
        }
        document["storage-credentials"] = credentials
        return json.dumps(document).encode()


@dataclass
class UserKeys(KeyVendor):
    """Keys of one user of versitygw, which knows no sessions."""

    store: ObjectStore
    _keys: dict[str, str] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def endpoint(self) -> str:
        return self.store.endpoint

    def keys(self) -> dict[str, str]:
        with self._lock:
            self._keys = self._keys or self._new_user()
            return self._keys

    def _new_user(self) -> dict[str, str]:
        access_key, secret_key = f"vended-{secrets.token_hex(6)}", secrets.token_hex(16)
        login = ["--access", self.store.access_key, "--secret", self.store.secret_key]
        user = ["create-user", "--access", access_key, "--secret", secret_key, "--role", "admin"]
        command = [str(versitygw()), "admin", *login, "--endpoint-url", self.store.endpoint, *user]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return {"s3.access-key-id": access_key, "s3.secret-access-key": secret_key}


@dataclass
class SessionKeys(KeyVendor):
    """Keys of sessions that expire. Each answer has a new session."""

    # The store checks the keys with `refusal`.
    address: str
    # Seconds until new keys expire.
    lifetime: float = 3600.0
    # Whether clients learn when the keys expire and where to get new ones.
    renewable: bool = True
    # Session token and end of each access key.
    sessions: dict[str, tuple[str, float]] = field(default_factory=dict, repr=False)

    @property
    def endpoint(self) -> str:
        return self.address

    def keys(self) -> dict[str, str]:
        access_key, token, end = f"session-{secrets.token_hex(6)}", secrets.token_hex(32), time.time() + self.lifetime
        self.sessions[access_key] = token, end
        keys = {
            "s3.access-key-id": access_key,
            "s3.secret-access-key": secrets.token_hex(16),
            "s3.session-token": token,
        }
        return {**keys, "s3.session-token-expires-at-ms": str(int(end * 1000))} if self.renewable else keys

    def properties(self) -> dict[str, str]:
        return {"client.refresh-credentials-endpoint": "v1/credentials"} if self.renewable else {}

    def newest_end(self) -> float:
        """Return the time when all keys that exist now will have expired."""
        return max(end for _, end in self.sessions.values())

    def expire_all(self) -> None:
        """End all keys that exist now."""
        self.sessions = {key: (token, 0.0) for key, (token, _) in self.sessions.items()}

    def refusal(self, access_key: str, token: str) -> tuple[str, str] | None:
        """Return the code and the message with which S3 refuses keys, None for valid ones."""
        expected, end = self.sessions.get(access_key, ("", 0.0))
        if not expected:
            return "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."
        if token != expected:
            return "InvalidToken", "The provided token is malformed or otherwise invalid."
        if time.time() >= end:
            return "ExpiredToken", "The provided token has expired."
        return None
