"""`ohlcv sql`: Spark SQL statements on the tables."""

from __future__ import annotations

import json
from typing import Any

import click
from rich import box
from rich.table import Table

from ohlcv.cli.options import TABLE_OR_JSON
from ohlcv.cli.terminal import note, print_table, show_progress
from ohlcv.config.settings import load_settings
from ohlcv.model.errors import OhlcvError
from ohlcv.spark.spark_submit import LOCAL_MASTER, run, sql_job


@click.command()
@click.argument("statements", metavar="STATEMENT...", nargs=-1, required=True)
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=1_000,
    show_default=True,
    help="Maximum number of rows shown per statement.",
)
@TABLE_OR_JSON
def sql(statements: tuple[str, ...], limit: int, output_format: str) -> None:
    """Run Spark SQL statements in order, and show their results.

    Tables have the names that 'ohlcv tables create' prints, by default market_data.gold_ohlcv_1m, and metadata tables
    such as market_data.gold_ohlcv_1m.snapshots. Write names with other characters than letters, digits and _ in
    backticks, each level by itself. Times are UTC. 'ohlcv validate' detects incorrect candles after manual changes, and
    'ohlcv build' rebuilds them.
    """
    from ohlcv.iceberg.tables import check_locations

    # Fails immediately if the catalog is not reachable, before Spark starts. A statement can change a table.
    settings = load_settings()
    check_locations(settings)
    with show_progress("running SQL", quiet=output_format == "json"):
        result = run(sql_job(settings, statements, limit), LOCAL_MASTER)
    if result.exit_code:
        raise OhlcvError(result.error)
    for statement_result in json.loads(result.last_line)["results"]:
        if output_format == "json":
            click.echo(json.dumps(statement_result))
        elif statement_result["columns"]:
            _print_rows(statement_result)
        if statement_result["more"]:
            note(f"only the first {limit:,} rows are shown: use --limit to show more")


def _print_rows(result: dict[str, Any]) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    for name in result["columns"]:
        table.add_column(name)
    for row in result["rows"]:
        table.add_row(*("NULL" if value is None else value for value in row))
    print_table(table)
