"""What a run must do according to the documentation, computed with integers and without the code of the product."""

from __future__ import annotations

from typing import Any

from hostile.run_requests import CANDLES, COVERAGE, FSCK, HEALTH, LEDGER, RECONCILE, REPROCESS, RETENTION, RunRequest
from hostile.values import DAY_SECONDS, MICROSECONDS, civil

MINUTE = 60 * MICROSECONDS
DAY = DAY_SECONDS * MICROSECONDS
# Timeframe -> length and lookback in minutes.
LENGTHS = {"1m": (1, 10), "5m": (5, 20), "30m": (30, 60), "1h": (60, 120), "1d": (1_440, 2_880)}
FIRST_TIME = -62_135_596_800 * MICROSECONDS
MAX_DAYS, MAX_LENGTH = 1_000, 36_525 * DAY
REFUSED = "refused"


def expected_run(request: RunRequest, interval_end: int | None, run_after: int, today: str) -> Any:
    """Return what a run that was due at `run_after` does, or REFUSED. Times are microseconds since the epoch."""
    if request.outcome == REFUSED:
        return REFUSED
    if request.dag_id in CANDLES:
        timeframe = request.dag_id.removeprefix("ohlcv_")
        span = _own_range(timeframe, request, interval_end, run_after)
        return REFUSED if span is None else {"range": span, "prune": request.meaning("prune", False)}
    if request.dag_id == REPROCESS:
        return _reprocessed(request, interval_end, run_after)
    if request.dag_id == RETENTION:
        as_of = request.meaning("as_of") or date_of(run_after)
        if not "1970-01-01" <= as_of <= today:
            return REFUSED
        names = request.meaning("timeframes", list(LENGTHS))
        planned = {name: as_of for name in LENGTHS if name in names}
        return {"plans": {**planned, "records": as_of}, "dry_run": request.meaning("dry_run", False)}
    return {
        LEDGER: {"timeframes": request.meaning("timeframes", list(LENGTHS))},
        RECONCILE: {"days": float(request.meaning("days", 7))},
        COVERAGE: {},
        HEALTH: {},
        FSCK: _checked(request),
    }[request.dag_id]


def _checked(request: RunRequest) -> Any:
    return {
        "timeframes": sorted(request.meaning("timeframes", list(LENGTHS))),
        "trades": request.meaning("trades", True),
        "records": request.meaning("records", True),
        "since": request.meaning("since"),
    }


def date_of(time: int) -> str:
    year, month, day, *_ = civil(time // MICROSECONDS)
    return f"{year:04}-{month:02}-{day:02}"


def _own_range(timeframe: str, request: RunRequest, interval_end: int | None, run_after: int) -> list[int] | None:
    start, end = request.meaning("start"), request.meaning("end")
    minutes, lookback = LENGTHS[timeframe]
    length = minutes * MINUTE
    if start is None and end is None:
        end = (run_after if interval_end is None else interval_end) // length * length
        start = (end - lookback * MINUTE) // length * length
        if start < FIRST_TIME:
            return None
    elif start is None or end is None or start >= end:
        return None
    return _complete_windows(length, start, end, run_after)


def _complete_windows(length: int, start: int, end: int, run_after: int) -> list[int] | None:
    """Return a range widened to whole windows and cut at the last complete one."""
    start = start // length * length
    end = min(-(-end // length) * length, run_after // length * length)
    return None if start >= end or end - start > MAX_LENGTH else [start, end]


def _reprocessed(request: RunRequest, interval_end: int | None, run_after: int) -> Any:
    start, end = request.meaning("start"), request.meaning("end")
    if start is None and end is None:
        last = (run_after if interval_end is None else interval_end) // DAY
        days = range(last - 1, last)
        if not FIRST_TIME <= (last - 1) * DAY < run_after:
            return REFUSED
    elif start is None or end is None or start >= end or start >= run_after:
        return REFUSED
    else:
        end = min(end, run_after)
        days = range(start // DAY, -(-end // DAY))
        if end - start > MAX_LENGTH or len(days) > MAX_DAYS:
            return REFUSED
    names = request.meaning("timeframes", list(LENGTHS))
    ranges = [
        {
            name: span
            for name in LENGTHS
            if name in names
            and (span := _complete_windows(LENGTHS[name][0] * MINUTE, day * DAY, (day + 1) * DAY, run_after))
        }
        # All other days are between them.
        for day in (days[0], days[-1])
    ]
    flags = {name: request.meaning(name, False) for name in ("prune", "dry_run", "new_source")}
    if not all(ranges):
        return REFUSED
    return {"first": date_of(days[0] * DAY), "days": len(days), "ranges": ranges, "flags": flags}
