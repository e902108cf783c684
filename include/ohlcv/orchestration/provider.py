"""Provider metadata of this package for Airflow (entry point `apache_airflow_provider`)."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return the metadata, which registers the `airflow dags backfill` command."""
    return {
        "package-name": "ohlcv",
        "name": "OHLCV",
        "description": "OHLCV candles from crypto trades.",
        "cli": ["ohlcv.orchestration.backfill_command.get_cli_commands"],
    }
