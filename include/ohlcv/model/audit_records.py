"""What the audit of candles stores in a candle table: held series, the newest rejected run, and decisions of operators.

Held series are part of the source checkpoint. The other records are table properties. Existing tables fix the names of
the JSON fields.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ohlcv.model.intervals import Range
from ohlcv.model.source_hours import format_hours, windows_of_hour
from ohlcv.model.timeframes import Timeframe

# Prefix of the branches of candidates. A branch exists until the candidate is published, held back or rejected.
CANDIDATE_BRANCH = "ohlcv_candidate_"
# Table properties.
REJECTION_PROPERTY = "ohlcv.audit-rejection"
DECISIONS_PROPERTY = "ohlcv.audit-decisions"


@dataclass(frozen=True, order=True)
class SeriesHour:
    """The windows of a series in one hour (of daily candles: in one day)."""

    exchange: str
    symbol: str
    # First hour of the windows.
    hour: int

    @property
    def key(self) -> tuple[str, str, int]:
        return self.exchange, self.symbol, self.hour

    def name(self, timeframe: Timeframe) -> str:
        """Return the name of the key in commands."""
        return f"{timeframe}:{format_hours([self.hour])}:{self.exchange}:{self.symbol}"

    def span(self, timeframe: Timeframe) -> Range:
        """Return the range of the windows."""
        return windows_of_hour(timeframe, self.hour)


@dataclass(frozen=True, order=True)
class HeldSeries(SeriesHour):
    """Windows of a series whose new candles failed the audit. The table keeps the candles that it had."""

    # Rule of the first finding, and the number of findings.
    rule: str
    findings: int
    # Digest of the findings: another digest means other values.
    values: str
    # Snapshot with the candles that failed, None if they were audited before they were written.
    candidate: int | None
    # Trades snapshot of these candles.
    trades_snapshot: int
    # Time at which the series was first held, and the end of the range of the run that tried it last; ISO times.
    since: str
    tried: str

    def name_with_values(self, timeframe: Timeframe) -> str:
        """Return the name in commands of the key and of the values that are held."""
        return f"{self.name(timeframe)}@{self.values}"

    def retry(self) -> Retry:
        """Return the request to try the series again."""
        return Retry(*self.key, self.tried)


@dataclass(frozen=True)
class Rejection:
    """A run of which nothing was published."""

    dag_id: str
    run_id: str
    # Snapshot with the candles that failed, None if they were audited before they were written.
    candidate: int | None
    trades_snapshot: int
    # ISO times: when it was rejected, and the range of the run.
    at: str
    start: str
    end: str
    # Rule of the first finding, the number of findings, of failing series and of all series of the run.
    rule: str
    findings: int
    failing: int
    series: int
    # The first findings, one line each.
    first: tuple[str, ...]

    def to_text(self) -> str:
        """Return the JSON of the table property."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str | None) -> Rejection | None:
        """Return the rejection that `to_text` wrote, None without one."""
        if text is None:
            return None
        values = json.loads(text)
        return cls(**{**values, "first": tuple(values["first"])})


@dataclass(frozen=True)
class Waiver(SeriesHour):
    """A decision to publish the candles of a held series although they differ from the recomputation."""

    # Digest of the findings at the time of the decision, and that of each finding.
    values: str
    findings: tuple[str, ...]
    author: str
    reason: str
    at: str


@dataclass(frozen=True)
class Retry(SeriesHour):
    """A request to try a held series in the next scheduled run, unless a run has tried it since."""

    # The time `HeldSeries.tried` at the request.
    tried: str


@dataclass(frozen=True)
class Decisions:
    """Decisions of operators on held series. Commands write them, jobs and validations read them."""

    waivers: tuple[Waiver, ...] = ()
    retries: tuple[Retry, ...] = ()

    def to_text(self) -> str:
        """Return the JSON of the table property."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str | None) -> Decisions:
        """Return the decisions that `to_text` wrote, none without a text."""
        if text is None:
            return cls()
        values = json.loads(text)
        return cls(
            waivers=tuple(Waiver(**{**each, "findings": tuple(each["findings"])}) for each in values["waivers"]),
            retries=tuple(Retry(**each) for each in values["retries"]),
        )

    def wants_retry(self, held: HeldSeries) -> bool:
        """Return whether an operator asked for a retry and no run has tried the series since."""
        return held.retry() in self.retries

    def waived_findings(self) -> frozenset[str]:
        """Return the digests of all waived findings."""
        return frozenset(digest for waiver in self.waivers for digest in waiver.findings)


NO_DECISIONS = Decisions()


def finding_digest(*parts: str) -> str:
    """Return the digest of a finding: of its rule, key, stored and expected value."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def values_digest(findings: Iterable[str]) -> str:
    """Return the digest of a set of findings, given theirs."""
    return finding_digest(*sorted(findings))[:8]


def held_to_json(held: Iterable[HeldSeries]) -> list[dict[str, Any]]:
    """Return held series as JSON types, in order."""
    return [asdict(each) for each in sorted(held, key=lambda each: each.key)]


def held_from_json(values: Iterable[dict[str, Any]]) -> frozenset[HeldSeries]:
    """Return the held series that `held_to_json` wrote."""
    return frozenset(HeldSeries(**each) for each in values)
