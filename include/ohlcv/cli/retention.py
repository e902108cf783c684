"""`ohlcv retention`: delete what has been kept long enough."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
from rich import box
from rich.table import Table

from ohlcv.cli.terminal import note, print_table, working
from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import parse_day
from ohlcv.model.timeframes import DEFAULT_MAX_SHARE, TIMEFRAMES, get_timeframe
from ohlcv.spark.spark_submit import LOCAL_MASTER, maintenance_job, run

if TYPE_CHECKING:
    from ohlcv.iceberg.retention_plan import RetentionPlan


@click.command()
@click.option("--timeframe", "name", default="all", show_default=True, help=f"{', '.join(TIMEFRAMES)} or all.")
@click.option("--dry-run", is_flag=True, help="Show what would go, and delete nothing.")
@click.option("--as-of", help="UTC day from which ages are reckoned, as in 2026-01-31.  [default: today]")
@click.option(
    "--max-share", type=float, default=DEFAULT_MAX_SHARE, show_default=True, help="Most of a table that may go at once."
)
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def retention(name: str, dry_run: bool, as_of: str | None, max_share: float, form: str) -> None:
    """Delete whole partitions of candles that have been kept as long as promised.

    All plans are made and shown before anything is deleted; what is deleted is what they say. It changes metadata
    alone: the files go when their snapshots expire (ohlcv maintain).
    """
    from ohlcv.iceberg.retention_plan import plan_retention

    settings = load_settings()
    names = list(TIMEFRAMES) if name == "all" else [get_timeframe(name).name]
    today = datetime.now(UTC).date()
    day = parse_day(as_of) if as_of else today
    plans = [plan_retention(settings, settings.timeframe(each), day, today, max_share) for each in names]
    if form == "table":
        show_plans(plans)
    deleted = {} if dry_run else {plan.timeframe: _delete(settings, plan, form) for plan in plans if plan.expired}
    if form == "json":
        for plan in plans:
            click.echo(json.dumps({**plan.to_json(), "deleted": deleted.get(plan.timeframe)}))
    elif dry_run:
        note("nothing was deleted: a dry run")
    elif not deleted:
        note("nothing has expired")


def show_plans(plans: list[RetentionPlan]) -> None:
    """Show what goes from each table, and why."""
    table = Table(title="Retention", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("timeframe", "kept"):
        table.add_column(column)
    for column in ("partitions", "candles", "of", "share", "files", "MiB"):
        table.add_column(column, justify="right")
    for column in ("oldest to go", "newest to go"):
        table.add_column(column)
    for plan in plans:
        ends = (str(plan.expired[0].day), str(plan.expired[-1].day)) if plan.expired else ("-", "-")
        table.add_row(
            plan.timeframe,
            plan.reason.removeprefix("kept "),
            f"{len(plan.expired):,}",
            f"{plan.rows:,}",
            f"{plan.total_rows:,}",
            f"{plan.share:.1%}",
            f"{plan.files:,}",
            f"{plan.size / 2**20:,.1f}",
            *ends,
        )
    print_table(table)


def _delete(settings: Settings, plan: RetentionPlan, form: str) -> dict[str, int]:
    days = ",".join(partition.day.isoformat() for partition in plan.expired)
    job = maintenance_job(settings, plan.timeframe, steps="delete", as_of=plan.as_of.isoformat(), days=days)
    with working(f"{plan.timeframe}: deleting {len(plan.expired):,} partitions", quiet=form == "json"):
        outcome = run(job, settings.spark_master or LOCAL_MASTER)
    if outcome.exit_code:
        raise OhlcvError(f"{plan.timeframe}: {outcome.error}")
    done: dict[str, int] = json.loads(outcome.last_line)["delete"]
    return done
