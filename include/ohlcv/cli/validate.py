"""`ohlcv validate`: check stored candles, rule by rule."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click
from rich import box
from rich.table import Table

from ohlcv.cli.terminal import note, print_table, working
from ohlcv.config.settings import load_settings
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import Range, parse_time
from ohlcv.model.timeframes import TIMEFRAMES, get_timeframe

if TYPE_CHECKING:
    from ohlcv.quality.report import ValidationResult


@click.command()
@click.option("--timeframe", "name", default="all", show_default=True, help=f"{', '.join(TIMEFRAMES)} or all.")
@click.option("--lookback-days", type=click.IntRange(1, 100_000), help="The days before now.  [default: 7]")
@click.option("--start", help="ISO time; with --end instead of --lookback-days.")
@click.option("--end", help="ISO time, not included.")
@click.option("--run", "run_id", help="Check what an Airflow run built, repaired hours included; with --range.")
@click.option("--range", "ranges", multiple=True, help="1m=START/END, once per timeframe; with --run.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def validate(
    name: str,
    lookback_days: int | None,
    start: str | None,
    end: str | None,
    run_id: str | None,
    ranges: tuple[str, ...],
    form: str,
) -> int:
    """Check stored candles by rules of their own, and against a recomputation from their trades by another engine.

    Only what has been built is checked. Exits with 1 when a candle is not as it must be; warnings leave it at 0.
    With --run and --range it does what a DAG's validate task does, and ends with one line of JSON.
    """
    if run_id or ranges:
        return _check_run(run_id, ranges)
    from ohlcv.quality.report import merge_results, result_to_json
    from ohlcv.quality.validator import built_range, validate_days, validate_freshness

    settings = load_settings()
    names = list(TIMEFRAMES) if name == "all" else [get_timeframe(name).name]
    wanted = _wanted(lookback_days, start, end)
    verdicts: dict[str, ValidationResult] = {}
    for each in names:
        of = settings.timeframe(each)
        own = built_range(settings, of, wanted)
        if own is None:
            note(f"{each}: nothing has been built in {wanted}")
            continue
        with working(f"checking {each} {own}", quiet=form == "json"):
            verdicts[each] = merge_results(list(validate_days(settings, of, own)))
            if start is None:
                # Of the days before now; a range of its own says nothing of the present.
                late = validate_freshness(settings, of, datetime.now(UTC))
                verdicts[each] = replace(verdicts[each], findings=[*verdicts[each].findings, *late])
        if not verdicts[each].trades:
            note(f"{each}: there are no trades in {own}")
    if form == "json":
        for verdict in verdicts.values():
            click.echo(json.dumps(result_to_json(verdict)))
    elif verdicts:
        _show(verdicts)
    return 1 if any(verdict.failures for verdict in verdicts.values()) else 0


def _check_run(run_id: str | None, ranges: Sequence[str]) -> int:
    from ohlcv.quality import report, validator

    if not run_id or not ranges:
        raise InputError("give both --run and --range, as in --range 1m=2026-01-31T10:00:00Z/2026-01-31T10:10:00Z")
    settings = load_settings()
    asked = [_asked(text) for text in ranges]
    verdicts = []
    for name, own in asked:
        verdicts.append(validator.validate(settings, settings.timeframe(name), own, run_id))
        click.echo(report.format_result(verdicts[-1]), err=True)
    complaint = report.failure_message(verdicts)
    events = [report.asset_event_extra(verdict) for verdict in verdicts]
    click.echo(json.dumps({"complaint": complaint, "events": events}))
    return 1 if complaint else 0


def _asked(text: str) -> tuple[str, Range]:
    name, _, span = text.partition("=")
    start, _, end = span.partition("/")
    if not start or not end:
        raise InputError(f"--range {text} is not as in 1m=2026-01-31T10:00:00Z/2026-01-31T10:10:00Z")
    return get_timeframe(name).name, _range(("--range", start), ("--range", end))


def _wanted(lookback_days: int | None, start: str | None, end: str | None) -> Range:
    if start is None and end is None:
        now = datetime.now(UTC)
        return Range(now - timedelta(days=lookback_days or 7), now)
    if lookback_days is not None or start is None or end is None:
        raise InputError("give --lookback-days, or both --start and --end")
    return _range(("--start", start), ("--end", end))


def _range(*named: tuple[str, str]) -> Range:
    times = []
    for option, text in named:
        time, assumed = parse_time(text)
        if assumed:
            note(f"{option} {text} names no zone: taken as UTC")
        times.append(time)
    start, end = times
    if start >= end:
        raise InputError(f"start {named[0][1]} must be before end {named[1][1]}")
    return Range(start, end)


def _show(verdicts: Mapping[str, ValidationResult]) -> None:
    from ohlcv.quality.rules import RULES

    table = Table(title="Findings by rule", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    table.add_column("rule")
    for name in verdicts:
        table.add_column(name, justify="right")
    table.add_row("", "candles checked", *(f"{verdict.candles:,}" for verdict in verdicts.values()))
    table.add_row("", "trades read", *(f"{verdict.trades:,}" for verdict in verdicts.values()), end_section=True)
    counts = {name: verdict.counts() for name, verdict in verdicts.items()}
    for rule in RULES.values():
        cells = (f"{counts[name][rule.name]:,}" if counts[name][rule.name] else "ok" for name in verdicts)
        table.add_row(rule.severity, rule.invariant, *cells)
    print_table(table)
    for name, verdict in verdicts.items():
        for text in verdict.notes:
            note(f"{name}: {text}")
        for severity, found in (("FAIL", verdict.failures), ("WARN", verdict.warnings)):
            for finding in found[:20]:
                click.echo(f"{severity} {name} {finding}", err=True)
            if len(found) > 20:
                click.echo(f"{severity} {name} and {len(found) - 20:,} more", err=True)
