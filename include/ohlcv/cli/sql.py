"""`ohlcv sql`: ask or change the tables by Spark SQL."""

from __future__ import annotations

import json
from typing import Any

import click
from rich import box
from rich.table import Table

from ohlcv.cli.terminal import note, print_table, working
from ohlcv.config.settings import load_settings
from ohlcv.model.errors import OhlcvError
from ohlcv.spark.spark_submit import LOCAL_MASTER, run, sql_job


@click.command()
@click.argument("statements", metavar="STATEMENT...", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(1, 100_000), default=1_000, show_default=True, help="Rows shown of each.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def sql(statements: tuple[str, ...], limit: int, form: str) -> None:
    """Run Spark SQL statements one after the other, and show what they give.

    Tables are market_data.gold_ohlcv_1m and so on, with their metadata (market_data.gold_ohlcv_1m.snapshots); times
    are UTC. What is changed by hand is found by 'ohlcv validate' and mended by reprocessing.
    """
    from ohlcv.iceberg.tables import open_catalog

    # A catalog that is down is told at once, not after Spark has started.
    open_catalog(load_settings())
    with working("asking", quiet=form == "json"):
        outcome = run(sql_job(statements, limit), LOCAL_MASTER)
    if outcome.exit_code:
        raise OhlcvError(outcome.error)
    for result in json.loads(outcome.last_line)["results"]:
        if form == "json":
            click.echo(json.dumps(result))
        elif result["columns"]:
            _show(result)
        if result["more"]:
            note(f"only the first {limit:,} rows are shown: see --limit")


def _show(result: dict[str, Any]) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    for name in result["columns"]:
        table.add_column(name)
    for row in result["rows"]:
        table.add_row(*("NULL" if value is None else value for value in row))
    print_table(table)
