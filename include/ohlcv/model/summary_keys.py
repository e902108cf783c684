"""Names that jobs write into snapshot summaries and table properties.

Existing tables hold them, so a name never changes.
"""

from __future__ import annotations

PREFIX = "ohlcv."
# Identifies one attempt of one run: a job finds its own commit by it. A table property after a commit of properties.
ATTEMPT = "ohlcv.attempt"
# The source checkpoint, in the summary of the commit that made it.
CHECKPOINT = "ohlcv.progress"
# The source checkpoint of a run that changed no candle, as a table property. It is valid only on top of the snapshot
# named by CHECKPOINT_BASE_PROPERTY, so that rolling the table back rolls the checkpoint back too.
CHECKPOINT_PROPERTY = "ohlcv.progress"
CHECKPOINT_BASE_PROPERTY = "ohlcv.progress-base"
# Properties of the coverage table: the trades snapshot whose hours are counted and its metadata file (see
# TRADES_METADATA), the hours that are still to count, the time up to which all others are, and the snapshot of the
# coverage table that has their rows.
COVERAGE_TRADES = "ohlcv.coverage-trades-snapshot"
COVERAGE_METADATA = "ohlcv.coverage-trades-metadata"
COVERAGE_PENDING = "ohlcv.coverage-pending-hours"
COVERAGE_UNTIL = "ohlcv.coverage-until"
COVERAGE_SNAPSHOT = "ohlcv.coverage-snapshot"
TIMEFRAME = "ohlcv.timeframe"
DAG_ID = "ohlcv.dag-id"
RUN_ID = "ohlcv.run-id"
RANGE_START = "ohlcv.range-start"
RANGE_END = "ohlcv.range-end"
REBUILT_PENDING_HOURS = "ohlcv.repaired-hours"
TRADES_SNAPSHOT = "ohlcv.trades-snapshot"
# The metadata file of the trades table: finds the snapshot where the catalog shows only the newest one.
TRADES_METADATA = "ohlcv.trades-metadata"
TRADES_READ = "ohlcv.trades-read"
TRADES_REJECTED = "ohlcv.trades-rejected"
CANDLES_WITHHELD = "ohlcv.candles-withheld"
# Engine that aggregated the trades: jvm or native.
EXECUTION = "ohlcv.execution"
# How the candles of a commit were audited before it was published. Missing if they were not.
AUDIT = "ohlcv.audit"
AUDIT_OF_CANDIDATE, AUDIT_OF_COMPUTED = "candidate", "computed"
# The first findings of the audit's rules on the trades, which do not prevent the publication; JSON.
AUDIT_WARNINGS = "ohlcv.audit-warnings"
# Steps of a maintenance commit.
MAINTENANCE = "ohlcv.maintenance"

# Actions that change a stored candle.
CHANGES = ("inserted", "updated", "deleted")
# The action of a candle of which only measures change: it is no revision.
FILLED = "filled"
# Actions that write or delete a row.
WRITES = (*CHANGES, FILLED)


def candles_changed(action: str) -> str:
    """Return the key of the number of candles that a commit inserted, updated, deleted or filled."""
    return f"ohlcv.candles-{action}"
