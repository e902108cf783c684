"""Bring Airflow's database to where the services can start: `python -m ohlcv.orchestration.bootstrap`.

Schema, pool, connections, users. A later start changes what a new version needs changed (schema, pool, the connection
to Spark) and leaves alone what people change by hand (users, passwords, the ways of alerts).

All of it by Airflow's own commands, but within one process: each would cost seconds of loading Airflow, and passwords
would be on their command lines.
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
# Who may log in, and as what: Viewer looks, Op runs and clears, Admin does everything. `health` is the health check's.
ROLES = {"admin": "Admin", "operator": "Op", "viewer": "Viewer", "health": "Viewer"}
# The database may be starting just now.
TRIES, PAUSE_SECONDS = 60, 2


def airflow(*words: str) -> None:
    """Run an `airflow` command here."""
    from airflow.cli.cli_parser import get_parser

    arguments = get_parser().parse_args(words)
    arguments.func(arguments)


def bring_up(secrets: Path = SECRETS) -> None:
    """Do it all."""
    airflow("db", "check", "--retry", str(TRIES), "--retry-delay", str(PAUSE_SECONDS))
    airflow("db", "migrate")
    with tempfile.TemporaryDirectory() as folder:
        airflow("pools", "import", _file(folder, "pools.json", pools()))
        master = load_settings().spark_master
        if master is None:
            raise InputError("OHLCV_SPARK_MASTER names no master: set it to spark://HOST:7077")
        own = {SPARK_CONNECTION: spark_connection(master)}
        airflow("connections", "import", "--overwrite", _file(folder, "own.json", own))
        theirs = {
            EMAIL_CONNECTION: _secret(secrets / "smtp_connection"),
            SLACK_CONNECTION: _secret(secrets / "slack_connection"),
        }
        if given := {name: address for name, address in theirs.items() if address}:
            airflow("connections", "import", _file(folder, "given.json", given))
    for name, role in ROLES.items():
        password = _secret(secrets / f"airflow_{name}_password")
        if not password:
            raise InputError(f"the secret airflow_{name}_password is missing: run 'make env'")
        airflow(
            *("users", "create", "--username", name, "--role", role, "--password", password),
            *("--firstname", name, "--lastname", "ohlcv", "--email", f"{name}@localhost"),
        )


def _file(folder: str, name: str, content: Any) -> str:
    path = Path(folder) / name
    path.touch(mode=0o600)
    path.write_text(json.dumps(content))
    return str(path)


def _secret(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


def main() -> int:
    """Bring it up, or say in one line why not."""
    try:
        bring_up()
    except OhlcvError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
