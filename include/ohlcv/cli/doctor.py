"""`ohlcv doctor`: diagnose the installation."""

from __future__ import annotations

import json
import os
from dataclasses import asdict

import click

from ohlcv.cli.terminal import echo


@click.command()
@click.option("--format", "output_format", type=click.Choice(["text", "json"]), default="text", show_default=True)
def doctor(output_format: str) -> int:
    """Check settings, Java, jars, catalog, object store, tables, Spark, Airflow and the deployment, one line each.

    Each fault is shown with a remedy. The exit code is 1 if there is a fault.
    """
    from ohlcv.monitoring.doctor import run_checks

    checks = []
    for check in run_checks(os.environ):
        checks.append(check)
        if output_format == "text":
            echo(f"{check.state:6}  {check.name:9}  {check.found}")
    if output_format == "json":
        click.echo(json.dumps([asdict(check) for check in checks]))
    return 1 if any(check.state == "fault" for check in checks) else 0
