"""An API server of Airflow without its other services, with users of one of the two auth managers."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from ohlcv.spark.processes import HOST, free_port, start, stop
from support.processes import wait_for

ROOT = Path(__file__).parents[2]
FAB = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
PASSWORD_BYTES = 12

# Users of the deployment (ohlcv.orchestration.bootstrap), and two that can list plugins: one may read a single DAG.
PREPARE_FAB = """
import sys
from pathlib import Path
from ohlcv.orchestration.bootstrap import initialize
initialize(Path(sys.argv[1]))
initialize(Path(sys.argv[1]))
from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
with get_application_builder() as builder:
    manager = builder.sm
    for user, dags in {"one-dag": ["DAG:ohlcv_1h"], "no-dag": []}.items():
        role = manager.add_role(user)
        for resource in ["Plugins", "Website", *dags]:
            manager.add_permission_to_role(role, manager.create_permission("can_read", resource))
        manager.add_user(user, user, "ohlcv", f"{user}@localhost", [role], sys.argv[2])
"""


@dataclass
class ApiServer:
    """A running API server, and requests of its users."""

    url: str
    passwords: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes]
    _tokens: dict[str, str] = field(default_factory=dict)

    def token(self, user: str) -> str:
        """Log in once, and return the user's token."""
        if user not in self._tokens:
            login = {"username": user, "password": self.passwords[user]}
            answer = httpx.post(f"{self.url}/auth/token", json=login, trust_env=False, timeout=60)
            assert answer.status_code == httpx.codes.CREATED, answer.text
            self._tokens[user] = answer.json()["access_token"]
        return self._tokens[user]

    def add_variable(self, key: str, value: str) -> None:
        headers = {"Authorization": f"Bearer {self.token('admin')}"}
        body = {"key": key, "value": value}
        answer = httpx.post(f"{self.url}/api/v2/variables", json=body, headers=headers, trust_env=False, timeout=60)
        assert answer.status_code == httpx.codes.CREATED, answer.text

    def get(self, path: str, user: str | None = None, *, cookie: bool = False, method: str = "GET") -> httpx.Response:
        """Send a request with the token of a user, in a header or in the cookie of the web interface."""
        headers = {}
        if user:
            headers = (
                {"Cookie": f"_token={self.token(user)}"} if cookie else {"Authorization": f"Bearer {self.token(user)}"}
            )
        return httpx.request(method, self.url + path, headers=headers, trust_env=False, timeout=60)


@contextmanager
def api_server(folder: Path, auth_manager: str, environment: Mapping[str, str]) -> Iterator[ApiServer]:
    """Start an API server with the simple or the FAB auth manager, on an empty metadata database."""
    folder.mkdir(parents=True)
    port = free_port()
    settings = {
        "AIRFLOW_HOME": str(folder),
        **{f"AIRFLOW__{name}": value for name, value in _settings(folder, port).items()},
        "OHLCV_SPARK_MASTER": "spark://127.0.0.1:7077",
        **environment,
    }
    if auth_manager == "fab":
        settings["AIRFLOW__CORE__AUTH_MANAGER"] = FAB
        passwords = _prepare_fab(folder, {**os.environ, **settings})
    else:
        passwords = {user: secrets.token_hex(PASSWORD_BYTES) for user in ("admin", "viewer")}
        logins = folder / "passwords.json"
        logins.write_text(json.dumps(passwords))
        settings["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"] = "admin:admin,viewer:viewer"
        settings["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"] = str(logins)
        _run([_airflow(), "db", "migrate"], {**os.environ, **settings})
    log = folder / "api-server.log"
    command = [_airflow(), "api-server", "--host", HOST, "--port", str(port)]
    process = start(command, {**os.environ, **settings}, log)
    server = ApiServer(f"http://{HOST}:{port}", passwords, log, process)
    try:
        wait_for(lambda: _answers(server), f"the API server answers: {log}", 0.5)
        yield server
    finally:
        stop(process)


def _settings(folder: Path, port: int) -> dict[str, str]:
    return {
        "CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/airflow.db",
        "API__BASE_URL": f"http://{HOST}:{port}",
        "API__SECRET_KEY": secrets.token_hex(16),
        "API__WORKERS": "1",
        "API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }


def _prepare_fab(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    passwords = {user: secrets.token_hex(PASSWORD_BYTES) for user in ("admin", "operator", "viewer", "health")}
    files = folder / "secrets"
    files.mkdir()
    for user, password in passwords.items():
        (files / f"airflow_{user}_password").write_text(password)
    passwords |= dict.fromkeys(("one-dag", "no-dag"), other := secrets.token_hex(PASSWORD_BYTES))
    _run([sys.executable, "-c", PREPARE_FAB, str(files), other], environment)
    return passwords


def _airflow() -> str:
    return str(Path(sys.executable).with_name("airflow"))


def _run(command: list[str], environment: Mapping[str, str]) -> None:
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def _answers(server: ApiServer) -> bool:
    assert server.process.poll() is None, server.log.read_text()
    try:
        return server.get("/api/v2/version").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
