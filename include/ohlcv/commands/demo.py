"""`ohlcv demo`: the whole pipeline here, on sample trades."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click
from rich import box
from rich.table import Table

from ohlcv.commands.terminal import print_table, working
from ohlcv.errors import OhlcvError
from ohlcv.settings import load_settings
from ohlcv.windows import floor_time

if TYPE_CHECKING:
    from ohlcv.demo import Built


@click.command()
@click.option(
    "--trades", type=click.IntRange(min=8), default=636_263, show_default=True, help="How many sample trades."
)
def demo(trades: int) -> None:
    """Run the pipeline on sample trades: load, build five timeframes on a Spark cluster of its own, check.

    Everything lives under OHLCV_HOME (./.ohlcv) and stays there to be looked at; nothing keeps running.
    """
    from ohlcv.demo import run_demo
    from ohlcv.serving import read_candles

    settings = load_settings()
    today = floor_time(datetime.now(UTC), timedelta(days=1))
    results = run_demo(settings, today, trades, working)
    print_table(_candles_table(read_candles(settings, settings.timeframe("1h"), newest=1).to_pylist()))
    print_table(_runs_table(results))
    if not all(result.sound for result in results):
        for finding in [finding for result in results for finding in result.verdict.findings][:20]:
            click.echo(f"wrong: {finding}", err=True)
        raise OhlcvError("a timeframe does not hold the candles its trades call for")
    click.echo("Look around:  .venv/bin/ohlcv candles --timeframe 1m --symbol BTC-USD")


def _candles_table(rows: list[dict[str, object]]) -> Table:
    table = Table(title="The newest 1h candle of each series", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("symbol", "exchange", "window_start"):
        table.add_column(name)
    amounts = ("open_price", "high_price", "low_price", "close_price", "volume", "vwap", "trade_count")
    for name in amounts:
        table.add_column(name.removesuffix("_price"), justify="right")
    for row in rows:
        start = row["window_start"]
        assert isinstance(start, datetime)
        table.add_row(
            str(row["symbol"]),
            str(row["exchange"]),
            f"{start:%Y-%m-%d %H:%M}Z",
            *(f"{row[name]:f}" if name != "trade_count" else f"{row[name]:,}" for name in amounts),
        )
    return table


def _runs_table(results: list[Built]) -> Table:
    table = Table(title="Runs", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("timeframe")
    for name in (
        "trades read",
        "rejected",
        "inserted",
        "unchanged",
        "candles checked",
        "findings",
        "seconds",
        "target",
    ):
        table.add_column(name, justify="right")
    table.add_column("")
    for result in results:
        target = result.timeframe.time_target.total_seconds()
        verdict = "ok" if result.sound else "WRONG"
        if result.seconds > target:
            verdict += ", slow"
        table.add_row(
            result.timeframe.name,
            f"{result.report['trades_read']:,}",
            f"{sum(result.report['rejected'].values()):,}",
            f"{result.report['candles']['inserted']:,}",
            f"{result.report['candles']['unchanged']:,}",
            f"{result.verdict.candles:,}",
            f"{len(result.verdict.findings):,}",
            f"{result.seconds:.1f}",
            f"{target:.0f}",
            verdict,
        )
    return table
