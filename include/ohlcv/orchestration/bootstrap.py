"""Initialization of Airflow's database before the services start: `python -m ohlcv.orchestration.bootstrap`.

It creates the schema, the pool, the connections and the users, and lets viewers list plugins, so that they see the
Candles page. A later start updates what a new version of the project may change (schema, pool, Spark connection) and
keeps what administrators may have changed (users, passwords, connections for notifications).

Everything runs as `airflow` commands, but in one process: a process per command would load Airflow for seconds each,
and would show passwords on its command line.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from ohlcv.config.settings import load_settings
from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.orchestration.notifications import EMAIL_CONNECTION, SLACK_CONNECTION
from ohlcv.orchestration.prerequisites import SPARK_CONNECTION, pools, spark_connection

SECRETS = Path("/run/secrets")
# Users and their roles: Viewer reads, Op runs and clears, Admin does everything. The container health check logs in as
# `health`.
ROLES = {"admin": "Admin", "operator": "Op", "viewer": "Viewer", "health": "Viewer"}
# Without this permission Airflow's interface shows no page of a plugin. Op and Admin have it.
PAGE_ROLES, PAGE_PERMISSION = ("Viewer", "User"), ("--resource", "Plugins", "--action", "can_read")
# The database may still be starting: retry for two minutes.
RETRIES, RETRY_DELAY_SECONDS = 60, 2


def run_airflow(*words: str) -> None:
    """Run an `airflow` command in this process."""
    from airflow.cli.cli_parser import get_parser

    arguments = get_parser().parse_args(words)
    arguments.func(arguments)


def initialize(secrets: Path = SECRETS) -> None:
    """Create or update the schema, the pool, the connections and the users."""
    run_airflow("db", "check", "--retry", str(RETRIES), "--retry-delay", str(RETRY_DELAY_SECONDS))
    run_airflow("db", "migrate")
    with tempfile.TemporaryDirectory() as folder:
        run_airflow("pools", "import", _write_json(folder, "pools.json", pools()))
        master = load_settings().spark_master
        if master is None:
            raise InputError("OHLCV_SPARK_MASTER is not set: set it to spark://HOST:7077")
        managed = {SPARK_CONNECTION: spark_connection(master)}
        run_airflow("connections", "import", "--overwrite", _write_json(folder, "managed.json", managed))
        notification = {
            EMAIL_CONNECTION: _read_secret(secrets / "smtp_connection"),
            SLACK_CONNECTION: _read_secret(secrets / "slack_connection"),
        }
        if given := {name: address for name, address in notification.items() if address}:
            run_airflow("connections", "import", _write_json(folder, "given.json", given))
    for name, role in ROLES.items():
        password = _read_secret(secrets / f"airflow_{name}_password")
        if not password:
            raise InputError(f"the secret airflow_{name}_password is missing: run 'make env'")
        run_airflow(
            *("users", "create", "--username", name, "--role", role, "--password", password),
            *("--firstname", name, "--lastname", "ohlcv", "--email", f"{name}@localhost"),
        )
    run_airflow("roles", "add-perms", *PAGE_ROLES, *PAGE_PERMISSION)


def _write_json(folder: str, name: str, content: Any) -> str:
    path = Path(folder) / name
    path.touch(mode=0o600)
    path.write_text(json.dumps(content))
    return str(path)


def _read_secret(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


def main() -> int:
    """Initialize the database, or write the error in one line."""
    try:
        initialize()
    except OhlcvError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
