"""`ohlcv demo`: the whole pipeline on this machine, on sample trades."""

from __future__ import annotations

import signal
from datetime import datetime
from typing import TYPE_CHECKING

import click
from rich import box
from rich.table import Table

from ohlcv.cli.terminal import echo, print_table, show_progress
from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.errors import OhlcvError

if TYPE_CHECKING:
    from ohlcv.demo.demo import DemoRun


@click.command()
@click.option(
    "--trades", type=click.IntRange(min=8), default=636_263, show_default=True, help="Sample trades of two days."
)
@click.option("--once", is_flag=True, help="Stop as soon as every timeframe has a validated run.")
def demo(trades: int, once: bool) -> int:
    """Run the pipeline on this machine: Spark, Airflow, sample trades up to now, and a feed of new ones.

    Waits until every timeframe has a validated run, then runs until Ctrl-C, which stops everything it started. All
    its files are below OHLCV_HOME (./.ohlcv).
    """
    from ohlcv.demo.demo import demo_services
    from ohlcv.demo.local_airflow import USER, VIEWER
    from ohlcv.readers.candles import read_candles

    settings = load_settings()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    ready = False
    try:
        with demo_services(settings, trades, show_progress, _print_line) as running:
            _print_line("unpausing five DAGs, waiting for a validated run of each …")
            runs = running.first_runs(_print_line)
            print_table(_candles_table(read_candles(settings, settings.timeframe("1h"), newest=1).to_pylist()))
            print_table(_runs_table(settings, runs))
            failed = [run for run in runs if run.state != "success"]
            if failed:
                raise OhlcvError(
                    f"{', '.join(run.dag_id for run in failed)} failed: see {settings.home / 'airflow' / 'logs'}"
                )
            ready = True
            if not once:
                url, passwords = running.airflow.url, running.airflow.passwords
                echo(f"Airflow:  {url}   user {USER}   password {passwords[USER]}")
                echo(f"Candles:  {url}/plugin/candles   also for user {VIEWER}   password {passwords[VIEWER]}")
                echo(f"Spark:    {running.spark_web}")
                echo('Commands: eval "$(.venv/bin/ohlcv env)" in a second shell, then airflow or ohlcv commands')
                echo("Example:  .venv/bin/ohlcv candles --timeframe 1m --symbol BTC-USD")
                echo("Ctrl-C stops everything. Finished runs, beginning with the two days of history:")
                running.fill_history()
                running.watch(_print_line)
    except KeyboardInterrupt:
        _print_line("stopped")
        return 0 if ready else 130
    return 0


def _print_line(text: str) -> None:
    echo(text, err=True)


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


def _runs_table(settings: Settings, runs: list[DemoRun]) -> Table:
    table = Table(title="Runs", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("DAG")
    table.add_column("range")
    for name in ("trades read", "inserted", "updated", "candles checked", "seconds", "target"):
        table.add_column(name, justify="right")
    table.add_column("")
    for run, name in zip(runs, settings.timeframes, strict=True):
        target = settings.timeframe(name).time_target.total_seconds()
        span = run.event["ranges"][-1] if run.event else {"start": "", "end": ""}
        table.add_row(
            run.dag_id,
            f"{span['start']} .. {span['end']}",
            *(f"{run.event.get(key, 0):,}" for key in ("trades_read", "inserted", "updated", "candles_checked")),
            f"{run.seconds:.1f}",
            f"{target:.0f}",
            run.state + (", slow" if run.seconds > target else ""),
        )
    return table
