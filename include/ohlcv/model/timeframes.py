"""Registry of the known timeframes. Schedules, DAG ids, tables and retention cutoffs derive from it.

The setting OHLCV_TIMEFRAMES enables some of them: work is done only on `Settings.timeframes`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from croniter import croniter

from ohlcv.model.errors import InputError
from ohlcv.model.partition_units import Unit, next_partition, partition_number, partition_of, partition_start

DAY = timedelta(days=1)
# A retention run that would delete a larger share of a table is probably a mistake and needs confirmation.
DEFAULT_MAX_SHARE = 0.5


@dataclass(frozen=True)
class Retention:
    """Retention period of candles: a number of days or of calendar years."""

    days: int = 0
    years: int = 0

    def __post_init__(self) -> None:
        if self.days < 0 or self.years < 0 or (self.days > 0) == (self.years > 0):
            raise ValueError("a retention is a positive number of days or of years")

    def cutoff(self, as_of: date) -> date:
        """Return the first day within retention as of a day. One year before 29 February is 28 February."""
        if self.days:
            return as_of - timedelta(days=self.days)
        try:
            return as_of.replace(year=as_of.year - self.years)
        except ValueError:
            return as_of.replace(year=as_of.year - self.years, day=28)

    def __str__(self) -> str:
        return f"{self.days} days" if self.days else f"{self.years} year{'s' if self.years > 1 else ''}"


@dataclass(frozen=True)
class Timeframe:
    """A candle length and the parameters of its pipeline."""

    name: str
    length: timedelta
    cron: str
    lookback: timedelta
    # File in spark_jobs/ that builds the candles. Both scripts follow the same rules for what they write
    # (spark_jobs/iceberg/candle_writer.py).
    script: str
    retention: Retention
    # Target duration of a job.
    time_target: timedelta
    # An alert is sent when a scheduled run has not ended this long after it was queued, retries included.
    deadline: timedelta = timedelta(minutes=10)

    def __post_init__(self) -> None:
        # Windows are aligned to the UTC epoch. Daily partitions require a window boundary at midnight, so the length
        # must divide a day.
        if self.length <= timedelta(0) or DAY % self.length:
            raise ValueError(f"{self.name}: the length must divide a day")
        if self.lookback < self.length:
            raise ValueError(f"{self.name}: the lookback must contain at least one window")

    @property
    def microseconds(self) -> int:
        return self.length // timedelta(microseconds=1)

    @property
    def dag_id(self) -> str:
        return f"ohlcv_{self.name}"

    def last_schedule_times(self, time: datetime) -> tuple[datetime, datetime]:
        """Return the last two schedule times at or before a time, the newer one first."""
        schedule = croniter(self.cron, time + timedelta(seconds=1), ret_type=datetime)
        return schedule.get_prev(), schedule.get_prev()

    @property
    def partition(self) -> Unit:
        """Return the partition transform. A year of daily candles in daily partitions would be 365 tiny files."""
        return "month" if self.length >= DAY else "day"

    def partition_start(self, number: int) -> date:
        """Return the first day of a partition of candles by its number."""
        return partition_start(self.partition, number)

    def partition_number(self, day: date) -> int:
        """Return the number of the partition that contains the candles of a day."""
        return partition_number(self.partition, day)

    def partition_of(self, day: date) -> date:
        """Return the first day of the partition that contains the candles of a day."""
        return partition_of(self.partition, day)

    def next_partition(self, day: date) -> date:
        """Return the first day of the partition after the one that contains the candles of a day."""
        return next_partition(self.partition, day)

    def cutoff(self, as_of: date) -> date:
        """Return the first day that is kept. A partition is deleted only when all its days have expired."""
        return self.partition_of(self.retention.cutoff(as_of))

    def __str__(self) -> str:
        return self.name


# In order of length, as everywhere.
TIMEFRAMES: dict[str, Timeframe] = {
    timeframe.name: timeframe
    for timeframe in (
        Timeframe(
            name="1m",
            length=timedelta(minutes=1),
            cron="*/5 * * * *",
            lookback=timedelta(minutes=10),
            script="ohlcv_incremental.py",
            retention=Retention(days=90),
            time_target=timedelta(seconds=20),
        ),
        Timeframe(
            name="5m",
            length=timedelta(minutes=5),
            cron="5,20,35,50 * * * *",
            lookback=timedelta(minutes=20),
            script="ohlcv_incremental.py",
            retention=Retention(days=180),
            time_target=timedelta(seconds=30),
        ),
        Timeframe(
            name="15m",
            length=timedelta(minutes=15),
            cron="3,18,33,48 * * * *",
            lookback=timedelta(minutes=30),
            script="ohlcv_batch.py",
            retention=Retention(years=1),
            time_target=timedelta(seconds=45),
        ),
        Timeframe(
            name="30m",
            length=timedelta(minutes=30),
            cron="10,40 * * * *",
            lookback=timedelta(hours=1),
            script="ohlcv_batch.py",
            retention=Retention(years=1),
            time_target=timedelta(seconds=45),
        ),
        Timeframe(
            name="1h",
            length=timedelta(hours=1),
            cron="15 * * * *",
            lookback=timedelta(hours=2),
            script="ohlcv_batch.py",
            retention=Retention(years=3),
            time_target=timedelta(seconds=60),
        ),
        Timeframe(
            name="2h",
            length=timedelta(hours=2),
            cron="27 */2 * * *",
            lookback=timedelta(hours=4),
            script="ohlcv_batch.py",
            retention=Retention(years=3),
            time_target=timedelta(seconds=60),
        ),
        Timeframe(
            name="4h",
            length=timedelta(hours=4),
            cron="37 */4 * * *",
            lookback=timedelta(hours=8),
            script="ohlcv_batch.py",
            retention=Retention(years=3),
            time_target=timedelta(seconds=60),
        ),
        Timeframe(
            name="1d",
            length=timedelta(days=1),
            cron="5 0 * * *",
            lookback=timedelta(days=2),
            script="ohlcv_batch.py",
            retention=Retention(years=5),
            time_target=timedelta(seconds=120),
        ),
    )
}


# Enabled without the setting.
DEFAULT_TIMEFRAMES: dict[str, Timeframe] = {name: TIMEFRAMES[name] for name in ("1m", "5m", "30m", "1h", "1d")}


def get_timeframe(name: str) -> Timeframe:
    """Return the known timeframe with this name, whether or not it is enabled."""
    try:
        return TIMEFRAMES[name]
    except KeyError:
        raise InputError(f"unknown timeframe '{name}': choose one of {', '.join(TIMEFRAMES)}") from None


def check_enabled(name: str, enabled: Iterable[str]) -> None:
    """Raise InputError if a timeframe is not known, or not one of the enabled ones."""
    if get_timeframe(name).name not in enabled:
        raise InputError(f"timeframe '{name}' is not enabled: add it to OHLCV_TIMEFRAMES")
