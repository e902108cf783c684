"""`ohlcv tables adopt`: what would happen with existing tables. Nothing is changed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
from rich import box
from rich.table import Table

from ohlcv.cli.terminal import echo, print_table, report_of, show_progress
from ohlcv.config.settings import load_settings

if TYPE_CHECKING:
    from ohlcv.iceberg.adoption import Adoption


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def adopt(as_json: bool) -> int:
    """Show what would happen with candle tables that another program created. Nothing is changed.

    For each candle table: whether it matches its contract, its candles, whether runs have built it, and what the first
    run, retention and maintenance would change. The exit code is 1 if jobs would refuse a table.
    """
    from ohlcv.iceberg.adoption import find_view_problems, plan_adoption

    settings = load_settings()
    adoptions = []
    with show_progress("reading the tables' metadata", quiet=as_json) as show:
        for adoption in plan_adoption(settings, datetime.now(UTC).date()):
            show(adoption.table)
            adoptions.append(adoption)
        problems = find_view_problems(settings)
    with report_of("nothing is changed"):
        if as_json:
            click.echo(json.dumps({"tables": [each.to_json() for each in adoptions], "views": problems}))
        else:
            _print_adoptions(adoptions, problems)
    return 1 if problems or any(each.state == "refused" for each in adoptions) else 0


def _print_adoptions(adoptions: list[Adoption], problems: list[str]) -> None:
    table = Table(title="Candle tables", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("timeframe", "table", "state"):
        table.add_column(column)
    table.add_column("candles", justify="right")
    for column in ("oldest partition", "newest partition"):
        table.add_column(column)
    for each in adoptions:
        table.add_row(
            each.timeframe,
            each.table,
            each.state,
            f"{each.candles:,}",
            str(each.oldest or "-"),
            str(each.newest or "-"),
        )
    print_table(table)
    for each in adoptions:
        for effect in each.effects:
            echo(f"{each.timeframe}: {effect}")
    for problem in problems:
        echo(problem)
