"""`ohlcv tables restore` and `ohlcv tables repair`: what they give up is shown first, and done with --yes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohlcv.cli.terminal import echo, note, report_of, show_progress
from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.intervals import iso

if TYPE_CHECKING:
    from ohlcv.integrity.repair import Repair
    from ohlcv.integrity.repairs import CheckedTable
    from ohlcv.integrity.restoration import Restoration

MAX_LISTED = 10
NAME = click.argument("name", metavar="TABLE")
YES = click.option("--yes", "is_confirmed", is_flag=True, help="Do it. Without this option nothing is changed.")


@click.command()
@NAME
@YES
def restore(name: str, is_confirmed: bool) -> None:
    """Set a table back to its newest complete state, after its newest metadata or files were damaged or lost.

    Shows which state that is and what is lost. Stop all writers first. Candles that are lost are rebuilt by the next
    runs; trades must be loaded again.
    """
    from ohlcv.iceberg.tables import open_catalog
    from ohlcv.integrity.restoration import find_restoration
    from ohlcv.integrity.restoration import restore as restore_table

    settings = load_settings()
    checked, catalog = _find_table(settings, name), open_catalog(settings)
    with show_progress(f"reading the metadata of {checked.name}"):
        found = find_restoration(settings, catalog, checked.contract)
    if not found.is_needed:
        echo(f"{checked.name}: the current state is complete, nothing to restore")
        return
    _print_restoration(checked, found)
    if not is_confirmed:
        note("nothing was changed: add --yes to restore")
        return
    kept = restore_table(settings, catalog, found)
    with report_of("the table is restored"):
        echo(f"restored  {checked.name} as of {iso(found.restored_at)}")
    for location in kept:
        note(f"{location} could not be renamed: move it to another place, or it may be registered again")


def _print_restoration(checked: CheckedTable, found: Restoration) -> None:
    for problem in list(dict.fromkeys(found.problems.values()))[:MAX_LISTED]:
        echo(f"damaged   {problem}")
    echo(f"complete  {found.target} of {iso(found.restored_at)}")
    for snapshot, time, run in found.lost[:MAX_LISTED]:
        echo(f"lost      the commit of {iso(time)} (snapshot {snapshot}{f', {run}' if run else ''})")
    if len(found.lost) > MAX_LISTED:
        echo(f"lost      and {len(found.lost) - MAX_LISTED:,} more commits")
    echo(f"lost      whatever else was committed after {iso(found.restored_at)}")
    then = {
        "candles": "the next scheduled runs rebuild what is lost",
        "trades": "load the trades of the lost commits again; candles that were built from them stay as they are",
        "records": "the next recording continues from this state",
    }
    echo(f"then      {then[checked.role]}")


@click.command()
@NAME
@YES
def repair(name: str, is_confirmed: bool) -> None:
    """Drop damaged data files from a table of candles or trades, so that it can be read and built again.

    Reads the table completely and shows what is dropped. Candles are rebuilt by the next scheduled run; those whose
    trades have expired are lost. Of trades the whole hours are dropped and must be loaded again; their candles stay.
    """
    from ohlcv.iceberg.tables import open_catalog
    from ohlcv.integrity.repair import plan_repair
    from ohlcv.integrity.repair import repair as repair_table

    settings = load_settings()
    checked, catalog = _find_table(settings, name), open_catalog(settings)
    with show_progress(f"checking {checked.name}") as progress:
        planned = plan_repair(settings, catalog, checked, progress)
    if not planned.files:
        echo(f"{checked.name}: no data file of the current state is damaged, nothing to repair")
        return
    _print_repair(planned)
    if not is_confirmed:
        note("nothing was changed: add --yes to repair")
        return
    repair_table(settings, catalog, planned)
    with report_of("the table is repaired"):
        echo(f"repaired  {checked.name}")


def _print_repair(planned: Repair) -> None:
    from ohlcv.integrity.repair import range_texts

    checked, texts = planned.checked, range_texts(planned)
    for damage in planned.damages[:MAX_LISTED]:
        echo(f"damaged   {damage.path} {damage.problem}")
    echo(f"dropped   {len(planned.files):,} files with {planned.rows:,} {checked.role} of {', '.join(texts)}")
    if checked.role == "trades":
        echo("then      load the trades of these hours again; their candles stay as they are")
        return
    if planned.hours_without_trades:
        echo(f"lost      candles of {planned.hours_without_trades:,} hours that have no trades, if there were any")
    echo("then      the next scheduled run rebuilds these hours, or now:")
    for span in planned.ranges:
        command = f"ohlcv build --timeframe {checked.subject} --start {iso(span.start)} --end {iso(span.end)}"
        echo(f"          {command}")


def _find_table(settings: Settings, name: str) -> CheckedTable:
    from ohlcv.integrity.check import Selection

    (found,) = Selection(tables=(name,)).choose(settings)
    return found
