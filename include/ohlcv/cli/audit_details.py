"""Output of `ohlcv audit show`: findings, values and trades of candles that failed the audit."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ohlcv.cli.terminal import echo, new_table, note, print_table
from ohlcv.model.audit_records import HeldSeries, Rejection
from ohlcv.model.timeframes import Timeframe
from ohlcv.quality.failure_details import SHOWN_WINDOWS, SIDES, FailureDetails, WindowDetails
from ohlcv.quality.report import MAX_LISTED_FINDINGS, Finding

NOTHING = "nothing"


def details_json(timeframe: Timeframe, record: HeldSeries | Rejection, details: FailureDetails) -> dict[str, Any]:
    """Return the details of a held series or of a rejected run as JSON types."""
    name = record.name_with_values(timeframe) if isinstance(record, HeldSeries) else record.run_id
    return {
        "timeframe": timeframe.name,
        "kind": "held" if isinstance(record, HeldSeries) else "rejected",
        "name": name,
        "record": asdict(record),
        "notes": details.notes,
        "findings_total": len(details.findings),
        "findings": [
            {
                "rule": each.rule,
                "symbol": each.symbol,
                "exchange": each.exchange,
                "window_start": each.window_start,
                "held": each.stored,
                "stored": _stored_value(each, details),
                "recomputed": each.expected,
            }
            for each in details.findings[:MAX_LISTED_FINDINGS]
        ],
        "windows_total": details.windows_total,
        "windows": [
            {**asdict(each), "verdicts": dict(each.verdicts), "trades_total": each.verdicts.total()}
            for each in details.windows[:SHOWN_WINDOWS]
        ],
    }


def print_details(timeframe: Timeframe, record: HeldSeries | Rejection, details: FailureDetails) -> None:
    """Print the details of a held series or of a rejected run."""
    if isinstance(record, HeldSeries):
        echo(
            f"{record.name_with_values(timeframe)}: held since {record.since}, last try {record.tried}, "
            f"{record.findings:,} findings, the first by {record.rule}"
        )
    else:
        echo(
            f"{timeframe}: run {record.run_id or 'without id'} of {record.start} .. {record.end} was rejected at "
            f"{record.at}: {record.findings:,} findings in {record.failing:,} of {record.series:,} series"
        )
    for text in details.notes:
        note(text)
    if details.findings:
        _print_findings(details)
    elif isinstance(record, Rejection):
        for line in record.first:
            echo(f"recorded: {line}")
    shown = details.windows[:SHOWN_WINDOWS]
    for window in shown:
        _print_window(window)
    if details.windows_total > len(shown):
        echo(f"{details.windows_total:,} failing windows, the first {len(shown)} are shown")


def _print_findings(details: FailureDetails) -> None:
    table = new_table("Findings", "window", "rule", "held", "stored", "recomputed")
    for each in details.findings[:MAX_LISTED_FINDINGS]:
        window = f"{each.window_start} {each.exchange} {each.symbol}"
        table.add_row(window, each.rule, each.stored, _stored_value(each, details), each.expected)
    print_table(table)
    if len(details.findings) > MAX_LISTED_FINDINGS:
        echo(f"and {len(details.findings) - MAX_LISTED_FINDINGS:,} more findings")


def _stored_value(finding: Finding, details: FailureDetails) -> str:
    """Return the value of a finding in the table: of the same field, else whether there is a candle."""
    window = details.window_of(finding)
    values = None if window is None else window.stored
    if values is None:
        return NOTHING
    field = finding.stored.partition(" ")[0]
    return f"{field} {values[field]}" if field in values else f"a candle of {values['trade_count']} trades"


def _print_window(window: WindowDetails) -> None:
    title = f"{window.window_start} {window.exchange} {window.symbol}"
    table = new_table(f"Candle {title}", "", *((side,) for side in SIDES))
    sides = [getattr(window, side) for side in SIDES]
    # All sides have the same fields.
    for name in next(filter(None, sides), ()):
        table.add_row(name, *("-" if values is None else values[name] for values in sides))
    print_table(table)
    if not window.verdicts:
        return
    # Of a table with measures the side is shown, too.
    side = ("side",) if "side" in window.trades[0] else ()
    table = new_table(f"Trades {title}", "time", "id", ("price",), ("quantity",), *side, "ingested", "verdict")
    for trade in window.trades:
        names = ("time", "id", "price", "quantity", *side, "ingested", "verdict")
        table.add_row(*(str(trade[name] or "-") for name in names))
    print_table(table)
    counts = ", ".join(f"{count:,} {verdict}" for verdict, count in sorted(window.verdicts.items()))
    total = window.verdicts.total()
    more = f", the first {len(window.trades)} are shown" if total > len(window.trades) else ""
    echo(f"{total:,} trades: {counts}{more}")
