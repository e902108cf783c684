"""`ohlcv build`: build candles through the spark-submit the DAGs run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click
from rich import box
from rich.table import Table

from ohlcv.cli.terminal import note, print_table, working
from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.model.intervals import Range, parse_time, requested_range
from ohlcv.model.table_contracts import TRADES, candles_contract
from ohlcv.model.timeframes import TIMEFRAMES, get_timeframe
from ohlcv.spark.spark_submit import LOCAL_MASTER, build_job, check_master, run

COUNTS = ("inserted", "updated", "deleted", "unchanged", "kept", "withheld")


@click.command()
@click.option("--timeframe", "name", required=True, help=f"{', '.join(TIMEFRAMES)} or all.")
@click.option("--start", required=True, help="ISO time; widened down to a whole window.")
@click.option("--end", required=True, help="ISO time, not included; widened up to the last complete window.")
@click.option("--master", help="Spark master, as in spark://host:7077  [default: OHLCV_SPARK_MASTER, else local mode]")
@click.option("--repair", is_flag=True, help="Also rebuild old hours whose trades changed, as a scheduled run does.")
@click.option("--prune", is_flag=True, help="Remove candles even where the source hour holds no trades any more.")
@click.option("--json", "as_json", is_flag=True, help="Print the jobs' JSON lines alone.")
def build(name: str, start: str, end: str, master: str | None, repair: bool, prune: bool, as_json: bool) -> int:
    """Build the candles of a range from its trades.

    Rebuilding is safe at any time: what is right already is left alone, and then nothing is committed.
    Exits with 1 when a candle had to be withheld because its volume does not fit its column.
    """
    settings = load_settings()
    names = list(TIMEFRAMES) if name == "all" else [get_timeframe(name).name]
    ranges = list(_ranges(settings, names, _time(start, "--start"), _time(end, "--end")))
    if not ranges:
        raise InputError(f"nothing to build: no window is complete yet between {start} and {end}")
    where = master or settings.spark_master or LOCAL_MASTER
    check_master(where)
    _check_tables(settings, [each for each, _ in ranges])
    results = []
    for each, own in ranges:
        with working(f"building {each} {own}", quiet=as_json):
            outcome = run(build_job(settings, each, own, rebuild_pending=repair, prune=prune), where)
        if outcome.exit_code:
            raise OhlcvError(f"{each}: {outcome.error}")
        results.append(json.loads(outcome.last_line))
        if as_json:
            click.echo(outcome.last_line)
    if not as_json:
        _print_table(results)
    withheld = [(result["timeframe"], candle) for result in results for candle in result["withheld"]]
    for each, candle in withheld[:20]:
        cure = (
            f"volume {candle['volume']} does not fit; widen it by 'ohlcv tables widen-volume --timeframe {each}'"
            if candle["reason"] == "volume"
            else "its turnover (price x quantity) has more digits than the engine's decimals: look at its trades"
        )
        click.echo(
            f"withheld: {each} {candle['symbol']} {candle['exchange']} {candle['window_start']}: {cure}", err=True
        )
    if len(withheld) > 20:
        click.echo(f"withheld: and {len(withheld) - 20} more", err=True)
    return 1 if withheld else 0


def _check_tables(settings: Settings, names: list[str]) -> None:
    """Find a missing table or a catalog that is down at once: Spark takes ten seconds and more to say so."""
    from ohlcv.iceberg.tables import load_table, open_catalog

    catalog = open_catalog(settings)
    for contract in (TRADES, *(candles_contract(get_timeframe(name)) for name in names)):
        load_table(catalog, contract)


def _time(text: str, option: str) -> datetime:
    time, assumed = parse_time(text)
    if assumed:
        note(f"{option} {text} names no zone: taken as UTC")
    return time


def _ranges(settings: Settings, names: list[str], start: datetime, end: datetime) -> Iterator[tuple[str, Range]]:
    now = datetime.now(UTC)
    for name in names:
        try:
            yield name, requested_range(settings.timeframe(name), start, end, known_until=now)
        except InputError as error:
            # With `all`, the day that is not over yet does not keep its minutes from being built.
            if len(names) == 1 or start >= end:
                raise
            note(f"{name} is left out: {error}")


def _print_table(results: list[dict[str, Any]]) -> None:
    table = Table(title="Built", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("timeframe")
    table.add_column("range")
    for column in ("trades", "rejected", *COUNTS, "seconds"):
        table.add_column(column, justify="right")
    for result in results:
        table.add_row(
            result["timeframe"],
            f"{result['range']['start']} .. {result['range']['end']}",
            f"{result['trades_read']:,}",
            f"{sum(result['rejected'].values()):,}",
            *(f"{result['candles'][count]:,}" for count in COUNTS),
            f"{result['seconds']['total']:.1f}",
        )
    print_table(table)
    for result in results:
        for text in result["notes"]:
            note(f"{result['timeframe']}: {text}")
        for reason, count in result["rejected"].items():
            note(f"{result['timeframe']}: {count:,} trades rejected: {reason}")
