"""`ohlcv retention`: delete expired partitions of the candle tables, and of what is recorded of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
from rich import box
from rich.table import Table

from ohlcv.cli.options import TABLE_OR_JSON, TIMEFRAME_OR_ALL, chosen_timeframes
from ohlcv.cli.terminal import note, print_table, report_of, show_progress
from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import parse_day
from ohlcv.model.timeframes import DEFAULT_MAX_SHARE
from ohlcv.spark.spark_submit import LOCAL_MASTER, maintenance_job, run

if TYPE_CHECKING:
    from ohlcv.iceberg.retention_plan import RetentionPlan


@click.command()
@TIMEFRAME_OR_ALL
@click.option("--dry-run", is_flag=True, help="Show what would be deleted, and delete nothing.")
@click.option("--as-of", help="UTC date from which ages are computed, such as 2026-01-31.  [default: today]")
@click.option(
    "--max-share",
    type=float,
    default=DEFAULT_MAX_SHARE,
    show_default=True,
    help="Largest share of a table's candles that may be deleted at once.",
)
@TABLE_OR_JSON
def retention(name: str, dry_run: bool, as_of: str | None, max_share: float, output_format: str) -> None:
    """Delete whole partitions of candles that are older than the retention period of their timeframe.

    The ledger and the reconciliation of the timeframe are deleted with them, by whole months, and with those of the
    longest retention the coverage. All plans are computed and shown before anything is deleted, and exactly the planned
    partitions are deleted. Only metadata changes: data files are removed when their snapshots expire (see 'ohlcv
    maintain').
    """
    from ohlcv.iceberg.retention_plan import RecordTables, plan_record_retention, plan_retention

    settings = load_settings()
    names = chosen_timeframes(settings, name)
    today = datetime.now(UTC).date()
    day = today if as_of is None else parse_day(as_of)
    plans = [plan_retention(settings, settings.timeframe(each), day, today, max_share) for each in names]
    records = RecordTables.find(settings)
    if records.missing:
        note(f"nothing is deleted from {records.missing}")
    plans += [plan for plan in plan_record_retention(settings, records.names, names, day, today) if plan.expired]
    if output_format == "table":
        print_plans(plans)
    jobs = {} if dry_run else _plans_by_table(plans)
    deleted = {table: _delete(settings, table, expired, output_format) for table, expired in jobs.items()}
    if output_format == "json":
        with report_of("the expired partitions are deleted" if deleted else "nothing is deleted"):
            for plan in plans:
                # All timeframes of a record table are deleted by one job.
                click.echo(json.dumps({**plan.to_json(), "deleted": deleted.get(plan.table.name)}))
    elif dry_run:
        note("dry run: nothing was deleted")
    elif not deleted:
        note("nothing has expired")


def print_plans(plans: list[RetentionPlan]) -> None:
    """Print the partitions that are deleted from each table, and the reason."""
    table = Table(title="Expired partitions", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("table", "retention"):
        table.add_column(column)
    for column in ("partitions", "rows", "of total", "share", "files", "MiB"):
        table.add_column(column, justify="right")
    for column in ("oldest", "newest"):
        table.add_column(column)
    for plan in plans:
        days = (str(plan.expired[0].day), str(plan.expired[-1].day)) if plan.expired else ("-", "-")
        table.add_row(
            plan.subject,
            plan.reason.removeprefix("retention "),
            f"{len(plan.expired):,}",
            f"{plan.rows:,}",
            f"{plan.total_rows:,}",
            f"{plan.share:.1%}",
            f"{plan.files:,}",
            f"{plan.size / 2**20:,.1f}",
            *days,
        )
    print_table(table)


def _plans_by_table(plans: list[RetentionPlan]) -> dict[str, list[RetentionPlan]]:
    """Return the plans that delete something, by the name of the table."""
    found: dict[str, list[RetentionPlan]] = {}
    for plan in plans:
        if plan.expired:
            found.setdefault(plan.table.name, []).append(plan)
    return found


def _delete(settings: Settings, table: str, plans: list[RetentionPlan], output_format: str) -> dict[str, int]:
    days = [day for plan in plans for day in plan.days]
    job = maintenance_job(settings, table, steps="delete", as_of=plans[0].as_of.isoformat(), days=",".join(days))
    with show_progress(f"{table}: deleting {len(days):,} partitions", quiet=output_format == "json"):
        result = run(job, settings.spark_master or LOCAL_MASTER)
    if result.exit_code:
        raise OhlcvError(f"{table}: {result.error}")
    deleted: dict[str, int] = json.loads(result.last_line)["delete"]
    return deleted
