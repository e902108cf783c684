"""`ohlcv tables`: create the tables and views, or widen a volume column."""

from __future__ import annotations

import click

from ohlcv.cli.terminal import show_progress
from ohlcv.config.settings import load_settings
from ohlcv.model.errors import OhlcvError
from ohlcv.model.table_contracts import CANDLES_VIEW, LATEST_VIEW, NAMESPACE, WIDE_AMOUNT, candles_contract
from ohlcv.spark.spark_submit import LOCAL_MASTER, run, views_job


@click.group()
def tables() -> None:
    """Create the tables and views, or widen a volume column."""


@tables.command()
@click.option(
    "--views/--no-views",
    default=True,
    show_default=True,
    help="Also create the views (runs a Spark job if they are missing).",
)
@click.option("--create-bucket", is_flag=True, help="First create the S3 bucket of the warehouse if it is missing.")
def create(views: bool, create_bucket: bool) -> None:
    """Create missing tables and views; check existing tables and leave them unchanged."""
    from ohlcv.iceberg.object_store import create_warehouse_bucket
    from ohlcv.iceberg.tables import create_tables, view_exists

    settings = load_settings()
    if create_bucket and (bucket := create_warehouse_bucket(settings)):
        click.echo(f"created  bucket {bucket}")
    result = create_tables(settings)
    for name in result.created:
        click.echo(f"created  {NAMESPACE}.{name}")
    for name in result.existing:
        click.echo(f"exists   {NAMESPACE}.{name}")
    missing = [name for name in (CANDLES_VIEW, LATEST_VIEW) if views and not view_exists(settings, name)]
    if missing:
        with show_progress("creating views"):
            job_result = run(views_job(), LOCAL_MASTER)
        if job_result.exit_code:
            raise OhlcvError(f"the views could not be created: {job_result.error}")
    for name in (CANDLES_VIEW, LATEST_VIEW) if views else ():
        click.echo(f"{'created' if name in missing else 'exists '}  {NAMESPACE}.{name} (view)")


@tables.command("widen-volume")
@click.option("--timeframe", "name", required=True, help="The timeframe whose volume column is too narrow.")
def widen_volume(name: str) -> None:
    """Widen the volume column of a timeframe to decimal(38,8), for volumes with more than ten digits.

    Candles that were withheld before are written by the next run that builds their range.
    """
    from ohlcv.iceberg import tables as iceberg_tables

    settings = load_settings()
    contract = candles_contract(settings.timeframe(name))
    widened = iceberg_tables.widen_volume(settings, contract)
    click.echo(f"{NAMESPACE}.{contract.name}: volume is {'now' if widened else 'already'} {WIDE_AMOUNT}")
