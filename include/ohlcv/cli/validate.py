"""`ohlcv validate`: validation of stored candles."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click
from rich import box
from rich.table import Table

from ohlcv.cli.options import TABLE_OR_JSON, TIMEFRAME_OR_ALL, chosen_timeframes
from ohlcv.cli.terminal import echo, note, parse_time_option, print_table, show_progress
from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import Range, check_length

if TYPE_CHECKING:
    from ohlcv.quality.report import ValidationResult


@click.command()
@TIMEFRAME_OR_ALL
@click.option(
    "--lookback-days", type=click.IntRange(1, 100_000), help="Validate this number of days before now.  [default: 7]"
)
@click.option("--start", help="ISO time; use with --end instead of --lookback-days.")
@click.option("--end", help="ISO time (exclusive).")
@click.option(
    "--run", "run_id", help="Validate what an Airflow run built, including pending hours it rebuilt; use with --range."
)
@click.option("--range", "ranges", multiple=True, help="1m=START/END, once per timeframe; use with --run.")
@TABLE_OR_JSON
def validate(
    name: str,
    lookback_days: int | None,
    start: str | None,
    end: str | None,
    run_id: str | None,
    ranges: tuple[str, ...],
    output_format: str,
) -> int:
    """Validate stored candles by rules, and compare them with a recomputation from their trades by DuckDB.

    Only ranges that have been built are validated. The exit code is 1 if a FAIL rule is violated; violations of WARN
    rules do not change it. With --run and --range it does the same as the validate task of a DAG, and prints one
    line of JSON.
    """
    if run_id or ranges:
        return _validate_run(run_id, ranges)
    from ohlcv.quality.report import merge_results, result_to_json
    from ohlcv.quality.validator import built_range, validate_days, validate_freshness

    settings = load_settings()
    names = chosen_timeframes(settings, name)
    requested = _requested_range(lookback_days, start, end)
    results: dict[str, ValidationResult] = {}
    for each in names:
        selected = settings.timeframe(each)
        span = built_range(settings, selected, requested)
        if span is None:
            note(f"{each}: no candles have been built in {requested}")
            continue
        with show_progress(f"validating {each} {span}", quiet=output_format == "json") as show:
            merged = merge_results(list(validate_days(settings, selected, span, show)))
            results[each] = replace(merged, ranges=[span])
            if start is None:
                # Freshness applies only to the days before now, not to an explicit range.
                freshness = validate_freshness(settings, selected, datetime.now(UTC))
                results[each] = replace(results[each], findings=[*results[each].findings, *freshness])
        if not results[each].trades:
            note(f"{each}: there are no trades in {span}")
    if output_format == "json":
        for result in results.values():
            click.echo(json.dumps(result_to_json(result)))
    elif results:
        _print_results(results)
    return 1 if any(result.failures for result in results.values()) else 0


def _validate_run(run_id: str | None, ranges: Sequence[str]) -> int:
    from ohlcv.quality import report, validator

    if not run_id or not ranges:
        raise InputError("give both --run and --range, such as --range 1m=2026-01-31T10:00:00Z/2026-01-31T10:10:00Z")
    settings = load_settings()
    run_ranges = [_parse_run_range(settings, text) for text in ranges]
    results = []
    for name, span in run_ranges:
        results.append(validator.validate(settings, settings.timeframe(name), span, run_id))
        echo(report.format_result(results[-1]), err=True, keep="\n")
    run_report = report.run_report(results, datetime.now(UTC))
    click.echo(json.dumps(run_report))
    return 1 if run_report["complaint"] else 0


def _parse_run_range(settings: Settings, text: str) -> tuple[str, Range]:
    name, _, span = text.partition("=")
    start, _, end = span.partition("/")
    if not start or not end:
        raise InputError(
            f"--range {text} is invalid: give a range such as 1m=2026-01-31T10:00:00Z/2026-01-31T10:10:00Z"
        )
    parsed = _parse_range(("--range", start), ("--range", end))
    check_length(parsed.start, parsed.end)
    return settings.timeframe(name).name, parsed


def _requested_range(lookback_days: int | None, start: str | None, end: str | None) -> Range:
    if start is None and end is None:
        now = datetime.now(UTC)
        return Range(now - timedelta(days=lookback_days or 7), now)
    if lookback_days is not None or start is None or end is None:
        raise InputError("give --lookback-days, or both --start and --end")
    return _parse_range(("--start", start), ("--end", end))


def _parse_range(start_option: tuple[str, str], end_option: tuple[str, str]) -> Range:
    """Return the range between two times, each given by the name of its option and its text."""
    start, end = parse_time_option(*start_option), parse_time_option(*end_option)
    if start >= end:
        raise InputError(f"start {start_option[1]} must be before end {end_option[1]}")
    return Range(start, end)


def _print_results(results: Mapping[str, ValidationResult]) -> None:
    from ohlcv.quality.report import MAX_LISTED_FINDINGS
    from ohlcv.quality.rules import RULES

    table = Table(title="Findings by rule", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("severity")
    table.add_column("rule")
    for name in results:
        table.add_column(name, justify="right")
    table.add_row("", "candles validated", *(f"{result.candles:,}" for result in results.values()))
    table.add_row("", "trades read", *(f"{result.trades:,}" for result in results.values()), end_section=True)
    counts = {name: result.counts() for name, result in results.items()}
    for rule in RULES.values():
        cells = (f"{counts[name][rule.name]:,}" if counts[name][rule.name] else "ok" for name in results)
        table.add_row(rule.severity, rule.invariant, *cells)
    print_table(table)
    for name, result in results.items():
        for text in result.notes:
            note(f"{name}: {text}")
        for severity, found in (("FAIL", result.failures), ("WARN", result.warnings)):
            for finding in found[:MAX_LISTED_FINDINGS]:
                echo(f"{severity} {name} {finding}", err=True)
            if len(found) > MAX_LISTED_FINDINGS:
                echo(f"{severity} {name} and {len(found) - MAX_LISTED_FINDINGS:,} more", err=True)
