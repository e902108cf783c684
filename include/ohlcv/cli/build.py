"""`ohlcv build`: build candles with the same spark-submit command as the DAGs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click
from rich import box
from rich.table import Table

from ohlcv.cli.options import TIMEFRAME_NAMES, chosen_timeframes
from ohlcv.cli.terminal import echo, note, parse_time_option, print_table, report_of, show_progress
from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.model.intervals import Range, requested_range
from ohlcv.spark.spark_submit import LOCAL_MASTER, build_job, check_master, run

# Name of a candle count in a job's JSON report -> heading.
COUNT_HEADINGS = {
    "inserted": "inserted",
    "updated": "updated",
    "deleted": "deleted",
    "filled": "filled",
    "unchanged": "unchanged",
    "kept": "preserved",
    "withheld": "withheld",
}
MAX_LISTED_WITHHELD = 20


@click.command()
@click.option("--timeframe", "name", required=True, help=f"One of {TIMEFRAME_NAMES}, or all enabled ones: all.")
@click.option("--start", required=True, help="ISO time; rounded down to a window boundary.")
@click.option(
    "--end", required=True, help="ISO time (exclusive); rounded up, at most to the end of the last complete window."
)
@click.option(
    "--master", help="Spark master such as spark://host:7077.  [default: OHLCV_SPARK_MASTER, else local mode]"
)
@click.option(
    "--repair",
    is_flag=True,
    help="Also rebuild pending hours (older hours whose trades changed), as scheduled runs do.",
)
@click.option("--prune", is_flag=True, help="Also delete candles whose source hour contains no trades any more.")
@click.option(
    "--new-source",
    is_flag=True,
    help="Accept that the trades table was replaced or its mapping changed; its other hours become pending.",
)
@click.option("--json", "as_json", is_flag=True, help="Print only the JSON reports of the jobs, one line each.")
def build(
    name: str, start: str, end: str, master: str | None, repair: bool, prune: bool, new_source: bool, as_json: bool
) -> int:
    """Build the candles of a time range from its trades.

    A range can be built any number of times: only candles that differ are written, and without differences nothing
    is committed. The exit code is 1 if a candle was withheld because a value does not fit its column.
    """
    settings = load_settings()
    names = chosen_timeframes(settings, name)
    start_time, end_time = parse_time_option("--start", start), parse_time_option("--end", end)
    ranges = list(_complete_ranges(settings, names, start_time, end_time))
    if not ranges:
        raise InputError(f"nothing to build: no window is complete yet between {start} and {end}")
    master = master or settings.spark_master or LOCAL_MASTER
    check_master(master)
    _check_tables(settings, [each for each, _ in ranges])
    reports = []
    for each, span in ranges:
        with show_progress(f"building {each} {span}", quiet=as_json):
            result = run(
                build_job(settings, each, span, rebuild_pending=repair, prune=prune, new_source=new_source), master
            )
        if result.exit_code:
            raise OhlcvError(f"{each}: {result.error}")
        reports.append(json.loads(result.last_line))
        if as_json:
            with report_of(f"{each} is built"):
                click.echo(result.last_line)
    if not as_json:
        with report_of("the candles are built"):
            _print_table(reports)
    withheld = [(report["timeframe"], candle) for report in reports for candle in report["withheld"]]
    for each, candle in withheld[:MAX_LISTED_WITHHELD]:
        problem = (
            f"volume {candle['volume']} does not fit its column: run 'ohlcv tables widen-volume --timeframe {each}'"
            if candle["reason"] == "volume"
            else "its notional (price x quantity) has more digits than Spark's decimals: check its trades"
        )
        echo(f"withheld: {each} {candle['symbol']} {candle['exchange']} {candle['window_start']}: {problem}", err=True)
    if len(withheld) > MAX_LISTED_WITHHELD:
        echo(f"withheld: and {len(withheld) - MAX_LISTED_WITHHELD} more", err=True)
    return 1 if withheld else 0


def _check_tables(settings: Settings, names: list[str]) -> None:
    """Raise an error if the catalog is not reachable or a table is missing; Spark would take over ten seconds."""
    from ohlcv.iceberg.tables import check_location, load_table, open_catalog
    from ohlcv.readers.trades import load_trades

    catalog = open_catalog(settings)
    load_trades(catalog, settings.trades_contract)
    for name in names:
        check_location(settings, load_table(catalog, settings.candles_contract(settings.timeframe(name))))


def _complete_ranges(
    settings: Settings, names: list[str], start: datetime, end: datetime
) -> Iterator[tuple[str, Range]]:
    """Yield the range to build for each timeframe that has a complete window in the requested range."""
    now = datetime.now(UTC)
    for name in names:
        try:
            yield name, requested_range(settings.timeframe(name), start, end, known_until=now)
        except InputError as error:
            # With `all`, a timeframe without a complete window (such as 1d today) is skipped and the others are built.
            if len(names) == 1 or start >= end:
                raise
            note(f"{name} is skipped: {error}")


def _print_table(reports: list[dict[str, Any]]) -> None:
    table = Table(title="Built candles", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("timeframe")
    table.add_column("range")
    for column in ("trades", "rejected", *COUNT_HEADINGS.values(), "seconds"):
        table.add_column(column, justify="right")
    for report in reports:
        table.add_row(
            report["timeframe"],
            f"{report['range']['start']} .. {report['range']['end']}",
            f"{report['trades_read']:,}",
            f"{sum(report['rejected'].values()):,}",
            *(f"{report['candles'][count]:,}" for count in COUNT_HEADINGS),
            f"{report['seconds']['total']:.1f}",
        )
    print_table(table)
    for report in reports:
        for text in report["notes"]:
            note(f"{report['timeframe']}: {text}")
        for reason, count in report["rejected"].items():
            note(f"{report['timeframe']}: {count:,} trades rejected: {reason}")
