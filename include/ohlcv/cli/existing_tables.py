"""`ohlcv tables map` and `ohlcv tables adopt`: what would happen with existing tables. Nothing is changed."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.table import Table

from ohlcv.cli.terminal import echo, note, print_table, report_of, show_progress
from ohlcv.config.mapping_file import read_mapping
from ohlcv.config.settings import load_settings
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import EPOCH, MICROSECOND, iso
from ohlcv.model.trade_mapping import BUY, MAPPED_COLUMNS, SELL, TIMES

if TYPE_CHECKING:
    from ohlcv.iceberg.adoption import Adoption
    from ohlcv.readers.mapping_preview import MappingPreview

# The largest number of rows that a preview reads by default: some seconds.
PREVIEW_ROWS = 1_000_000


@click.command("map")
@click.option("--dry-run", is_flag=True, help="Required: the command only shows what a mapping does.")
@click.option("--file", type=click.Path(path_type=Path), help="The mapping.  [default: the file OHLCV_TRADES_MAPPING]")
@click.option(
    "--max-rows",
    type=click.IntRange(1, 10**12),
    default=PREVIEW_ROWS,
    show_default=True,
    help="Number of rows to read, those of the files with the newest trades first.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def map_trades(dry_run: bool, file: Path | None, max_rows: int, as_json: bool) -> None:
    """Show what a mapping does with the trades table: ten mapped rows, and the rejected trades by reason.

    Nothing is changed. Set OHLCV_TRADES_MAPPING to the file to use it. The preview does not resolve duplicates and
    corrections.
    """
    from ohlcv.iceberg.tables import open_catalog
    from ohlcv.readers.mapping_preview import preview_mapping
    from ohlcv.readers.trades import load_trades

    if not dry_run:
        raise InputError("'ohlcv tables map' only shows a mapping: add --dry-run; OHLCV_TRADES_MAPPING=FILE uses it")
    settings = load_settings()
    if file is not None:
        settings = dataclasses.replace(settings, trades_mapping=read_mapping(file, "--file"))
    if settings.trades_mapping.is_default:
        raise InputError("there is no mapping: give --file, or set OHLCV_TRADES_MAPPING")
    with show_progress(f"reading {settings.trades_contract}", quiet=as_json) as show:
        preview = preview_mapping(load_trades(open_catalog(settings), settings.trades_contract), max_rows, show)
    with report_of("nothing is changed"):
        if as_json:
            click.echo(json.dumps(_preview_json(preview)))
        else:
            _print_preview(preview)


def _preview_json(preview: MappingPreview) -> dict[str, Any]:
    return {
        "table": preview.table,
        "files": preview.files,
        "files_read": preview.files_read,
        "complete": preview.is_complete,
        "rows_read": preview.rows_read,
        "excluded": preview.excluded,
        "valid": preview.valid,
        "sides": _sides(preview),
        "rejected": preview.rejections(),
        "rows": [{name: _json_value(value) for name, value in row.items()} for row in preview.rows],
    }


def _sides(preview: MappingPreview) -> dict[str, int] | None:
    """Return the number of valid trades by side, None if the mapping has no side."""
    if not preview.sides:
        return None
    return {"buy": preview.sides[BUY], "sell": preview.sides[SELL], "without": preview.sides[None]}


def _json_value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(value) if isinstance(value, date) else value


def _print_preview(preview: MappingPreview) -> None:
    # Columns without a value in any row are omitted.
    names = [name for name in (*MAPPED_COLUMNS, "rejected") if any(row[name] is not None for row in preview.rows)]
    table = Table(title=f"Trades of {preview.table} as mapped", title_justify="left", box=box.SIMPLE_HEAD)
    for name in names:
        table.add_column(name)
    for row in preview.rows:
        table.add_row(*(_shown(name, row[name]) for name in names))
    if preview.rows:
        print_table(table)
    echo(
        f"{preview.rows_read:,} rows read of {preview.files_read:,} of {preview.files:,} files: "
        f"{preview.valid:,} valid, {preview.rejected.total():,} rejected, {preview.excluded:,} excluded by filters"
    )
    if sides := _sides(preview):
        echo(
            f"side of the valid trades: {sides['buy']:,} buy, {sides['sell']:,} sell, {sides['without']:,} without one"
        )
    for reason, count in preview.rejections().items():
        echo(f"rejected: {reason}: {count:,}")
    if not preview.is_complete:
        note("only a part of the table was read: use --max-rows to read more")


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name in TIMES:
        try:
            return iso(EPOCH + value * MICROSECOND)
        except OverflowError:
            return str(value)
    return str(_json_value(value))


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
