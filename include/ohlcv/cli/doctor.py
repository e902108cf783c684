"""`ohlcv doctor`: what is wrong here, and what to do."""

from __future__ import annotations

import json
import os
from dataclasses import asdict

import click


@click.command()
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def doctor(form: str) -> int:
    """Look at settings, Java, jars, catalog, store, tables, Spark, Airflow and the deployment; a line each.

    A fault is told with its cure. Exits with 1 when there is one.
    """
    from ohlcv.monitoring.doctor import examine

    checks = []
    for check in examine(os.environ):
        checks.append(check)
        if form == "text":
            click.echo(f"{check.state:6}  {check.name:9}  {check.found}")
    if form == "json":
        click.echo(json.dumps([asdict(check) for check in checks]))
    return 1 if any(check.state == "fault" for check in checks) else 0
