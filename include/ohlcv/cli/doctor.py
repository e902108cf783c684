"""`ohlcv doctor`: diagnose the installation."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from ohlcv.cli.terminal import echo, show_progress
from ohlcv.config.settings import load_settings

if TYPE_CHECKING:
    from ohlcv.monitoring.doctor import Check

# Longest name of a check of the catalog: "pyiceberg authenticate".
MAX_NAME = 22


@click.command()
@click.option(
    "--catalog",
    is_flag=True,
    help="Also check the catalog step by step through pyiceberg and Spark, with a scratch table that is dropped "
    "(half a minute).",
)
@click.option("--format", "output_format", type=click.Choice(["text", "json"]), default="text", show_default=True)
def doctor(catalog: bool, output_format: str) -> int:
    """Check settings, set-up, catalog, object store, tables, Spark, Airflow and the deployment, one line each.

    Each fault is shown with a remedy. The exit code is 1 if there is a fault. A warning is a limitation: of the
    catalog, or jobs that run on the JVM because native execution does not work.
    """
    from ohlcv.monitoring.doctor import run_checks

    checks: list[Check] = []
    as_json = output_format == "json"
    # Widths of state and name.
    widths = (7, MAX_NAME if catalog else 9)

    def report(found: Iterable[Check]) -> None:
        for check in found:
            checks.append(check)
            if not as_json:
                echo(f"{check.state:{widths[0]}}  {check.name:{widths[1]}}  {check.found}")

    report(run_checks(os.environ))
    if catalog and not any(check.name == "settings" and check.state == "fault" for check in checks):
        report(_check_catalog(quiet=as_json))
    if as_json:
        click.echo(json.dumps([asdict(check) for check in checks]))
    return 1 if any(check.state == "fault" for check in checks) else 0


def _check_catalog(quiet: bool) -> Iterator[Check]:
    from ohlcv.monitoring.catalog_check import CLIENTS, is_unreachable

    settings = load_settings()
    for client, check in CLIENTS.items():
        with show_progress(f"checking the catalog through {client}", quiet=quiet):
            found = check(settings)
        yield from found
        if is_unreachable(found):
            # The other client would repeat its attempts for a minute.
            return
