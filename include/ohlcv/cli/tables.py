"""`ohlcv tables`: create, register, relocate, extend and examine the tables, or widen a volume column."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from ohlcv.cli.existing_tables import adopt, map_trades
from ohlcv.cli.options import chosen_timeframes
from ohlcv.cli.table_repairs import repair, restore
from ohlcv.cli.terminal import echo, new_table, note, print_table, report_of, show_progress
from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.errors import OhlcvError
from ohlcv.model.table_contracts import WIDE_AMOUNT
from ohlcv.model.table_names import dotted
from ohlcv.spark.spark_submit import LOCAL_MASTER, run, views_job

if TYPE_CHECKING:
    from ohlcv.readers.table_progress import Days, TableProgress

# A table shows so many ranges of days; JSON has all.
MAX_RANGES = 5


@click.group()
def tables() -> None:
    """Create, register, relocate, extend and examine the tables, or widen a volume column."""


tables.add_command(adopt)
tables.add_command(map_trades)
tables.add_command(restore)
tables.add_command(repair)


@tables.command()
@click.option(
    "--views/--no-views",
    default=True,
    show_default=True,
    help="Also create the views, and replace outdated ones (runs a Spark job if there are any).",
)
@click.option("--create-bucket", is_flag=True, help="First create the S3 bucket of the warehouse if it is missing.")
def create(views: bool, create_bucket: bool) -> None:
    """Create missing tables and views; check existing tables and leave them unchanged.

    A view whose query is not that of the enabled timeframes and their columns is replaced.
    """
    from ohlcv.iceberg.object_store import create_warehouse_bucket
    from ohlcv.iceberg.tables import create_tables

    settings = load_settings()
    if create_bucket and (bucket := create_warehouse_bucket(settings)):
        echo(f"created  bucket {bucket}")
    result = create_tables(settings)
    with report_of("the tables exist"):
        for name in result.created:
            echo(f"created  {name}")
        for name in result.existing:
            echo(f"exists   {name}")
    if views:
        _update_views(settings)


def _update_views(settings: Settings) -> None:
    """Create missing views and replace outdated ones, and print what was done. Spark starts only if it is needed."""
    from ohlcv.iceberg.views import are_views_current

    if not settings.catalog.has_views:
        note(f"the catalog {settings.catalog} has no views in Iceberg: query the tables themselves")
        return
    report: dict[str, list[str]] = {}
    if not are_views_current(settings):
        with show_progress("creating views"):
            result = run(views_job(settings), LOCAL_MASTER)
        if result.exit_code:
            raise OhlcvError(f"the views could not be created: {result.error}")
        report = json.loads(result.last_line)
    for name in map(dotted, settings.names.views):
        change = next((change for change, names in report.items() if name in names), "exists")
        echo(f"{change:8} {name} (view)")


@tables.command()
@click.option(
    "--replace",
    is_flag=True,
    help="Also replace entries that are older than the files of their table, as after restoring a catalog.",
)
def register(replace: bool) -> None:
    """Add the tables whose files are in the warehouse to the catalog, each with its newest metadata.

    Use it after the catalog was lost. Tables that the catalog already contains stay unchanged without --replace.
    """
    from ohlcv.iceberg.registration import register_tables
    from ohlcv.iceberg.tables import open_catalog

    settings = load_settings()
    registered = register_tables(settings, open_catalog(settings), replace=replace)
    with report_of("the tables are registered"):
        for name in registered:
            echo(f"registered  {name}")
    if not registered:
        note(f"nothing to register: the warehouse {settings.warehouse} has no table that is missing in the catalog")


@tables.command()
def relocate() -> None:
    """Correct the locations in the tables' metadata after the home was copied or moved.

    Stop all writers first. Only files of the configured warehouse are changed, so the original of a copy stays
    unchanged and usable. The command can be repeated after an interruption.
    """
    from ohlcv.iceberg.relocation import relocate_tables

    settings = load_settings()
    with show_progress("relocating"):
        relocations = relocate_tables(settings)
    with report_of("the tables are relocated"):
        for relocation in relocations:
            echo(f"{'relocated' if relocation.rewritten else 'unchanged'}  {relocation.name}")
    for path in (path for relocation in relocations for path in relocation.unreadable):
        note(f"{path} cannot be read and was left unchanged: no current data depends on it")


@tables.command("widen-volume")
@click.option("--timeframe", "name", required=True, help="The timeframe whose volume column is too narrow.")
def widen_volume(name: str) -> None:
    """Widen the volume column of a timeframe to decimal(38,8), for volumes with more than ten digits.

    Candles that were withheld before are written by the next run that builds their range.
    """
    from ohlcv.iceberg import tables as iceberg_tables

    settings = load_settings()
    contract = settings.candles_contract(settings.timeframe(name))
    widened = iceberg_tables.widen_volume(settings, contract)
    echo(f"{contract}: volume is {'now' if widened else 'already'} {WIDE_AMOUNT}")


@tables.command()
@click.option("--timeframe", "name", required=True, metavar="T", help="The timeframe to extend, or all.")
@click.option("--views/--no-views", default=True, show_default=True, help="Also replace the views (runs a Spark job).")
def extend(name: str, views: bool) -> None:
    """Add the columns of the measures to candle tables: quote volume, taker buy volumes, first and last trade.

    Values and revisions of the candles stay unchanged. Runs from now on give measures to the candles that they
    rebuild; 'ohlcv tables progress' shows which days are left for ohlcv_reprocess.
    """
    from ohlcv.iceberg.extension import extend_tables

    settings = load_settings()
    names = chosen_timeframes(settings, name)
    with show_progress("extending"):
        result = extend_tables(settings, names)
    with report_of("the tables are extended"):
        for table in result.extended:
            echo(f"extended {table}")
        for table in result.existing:
            echo(f"exists   {table}")
    if views:
        _update_views(settings)


@tables.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def progress(as_json: bool) -> None:
    """Show which days of each enabled timeframe are built and have measures, and how to reprocess the others.

    Nothing is changed. Days are complete UTC days within retention. The commands reprocess the days that have trades
    and whose candles are missing or, in an extended table, have no measures.
    """
    from ohlcv.readers.table_progress import backfill_commands, read_progress

    settings = load_settings()
    with show_progress("reading the tables", quiet=as_json) as show:
        found = read_progress(settings, settings.timeframes, datetime.now(UTC), show)
    commands = backfill_commands(found, list(settings.timeframes))
    if as_json:
        click.echo(json.dumps({"timeframes": [each.to_json() for each in found], "commands": commands}))
    else:
        _print_progress(found, commands)


def _print_progress(found: Sequence[TableProgress], commands: Sequence[str]) -> None:
    numbers = ("candles", "with measures", "days with trades", "days built", "left", "expired")
    table = new_table("Progress", "timeframe", "extended", *((name,) for name in numbers))
    for each in found:
        measured = f"{each.measured:,}" if each.is_extended else "-"
        counts = (each.days_with_trades, each.days_built, each.days_left, each.days_expired)
        table.add_row(
            each.timeframe,
            "yes" if each.is_extended else "no",
            f"{each.candles:,}",
            measured,
            *(f"{count:,}" for count in counts),
        )
    print_table(table)
    for each in found:
        if each.to_reprocess:
            echo(f"{each.timeframe}: left to reprocess: {_ranges_text(each.to_reprocess)}")
        if each.expired:
            echo(f"{each.timeframe}: trades have expired: {_ranges_text(each.expired)}")
    for command in commands:
        echo(command)


def _ranges_text(ranges: Sequence[Days]) -> str:
    shown = ", ".join(f"{first} to {last}" if first < last else f"{first}" for first, last in ranges[:MAX_RANGES])
    return shown + (f" and {len(ranges) - MAX_RANGES:,} more ranges" if len(ranges) > MAX_RANGES else "")
