"""What is known of the trades of a series in an hour: facts that are stored, and states that are derived from them.

Existing tables hold the kinds of notes, so they never change.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

# State of a series in an hour. Only hours that the coverage has counted have one.
State = Literal[
    "no gap",  # contiguous source sequences, also at both boundaries
    "sequence gaps",
    "silent",  # no trade of an expected series, but trades of others of its exchange
    "no data",  # no trade of any series of its exchange
    "source expired",  # the trades were deleted after they were counted
    "unknown",  # there are no source sequences, or they do not tell
]
NoteKind = Literal["halt", "outage", "delisting", "expected"]

# Upper bounds in seconds, inclusive, of the arrival delays that are counted together. The last two counts are those of
# longer delays, and of trades without an ingestion time.
DELAY_BOUNDS = (0.1, 1, 10, 60, 300, 3_600, 86_400)
DELAY_COUNTS = len(DELAY_BOUNDS) + 2
# A series is expected for this time after a trade. It does not pass while its exchange has no data.
EXPECTED_AFTER_TRADE = timedelta(days=7)
# An exchange without data is reported for this time after its last trade.
NO_DATA_REPORTED = timedelta(days=31)


@dataclass(frozen=True)
class Note:
    """What a person knows of a series, or of a whole exchange, in a time."""

    note: str
    kind: NoteKind
    exchange: str
    # None: every symbol.
    symbol: str | None
    start_time: datetime
    # None: it has not ended.
    end_time: datetime | None
    author: str
    reason: str
    recorded_at: datetime
    withdrawn_at: datetime | None = None
    withdrawn_by: str | None = None
