"""Timeframes that are not enabled by default, on real services: runs of every type, each candle as in the oracle."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from ohlcv.model.intervals import HOUR, Range, floor_time, from_microseconds, iso, scheduled_range, to_microseconds
from ohlcv.model.timeframes import DAY, TIMEFRAMES, Timeframe
from support.harness import trade
from support.processes import wait_for
from support.reference_model import Candle, Key, Trade, reference_candles
from support.sites import POLL_SECONDS, Run, Site, running_site

pytestmark = [pytest.mark.services, pytest.mark.timeout(3600)]

NEW = ("15m", "2h", "4h")
NOW = datetime.now(UTC)
TODAY = floor_time(NOW, DAY)
BEGIN = TODAY - 3 * DAY
FROM = BEGIN + 8 * HOUR
STEP = timedelta(minutes=4)


class OracleSite:
    """An installation with three enabled timeframes, and every trade that was loaded into it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.trades: list[Trade] = []

    def load(self, trades: list[Trade]) -> None:
        self.trades += trades
        self.site.load(trades)

    def expected(self, timeframe: Timeframe, span: Range) -> dict[Key, Candle]:
        spans = [(to_microseconds(span.start), to_microseconds(span.end))]
        return reference_candles(self.trades, timeframe.microseconds, spans).candles

    def assert_exact(self, timeframe: Timeframe, span: Range) -> None:
        """Assert that the candles of a range are those of the oracle, and that there are some."""
        stored = {key: each.candle for key, each in self.site.stored_candles(timeframe.name).items()}
        inside = {key: each for key, each in stored.items() if span.start <= from_microseconds(key[2]) < span.end}
        assert inside
        assert inside == self.expected(timeframe, span)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OracleSite]:
    enabled = {"OHLCV_TIMEFRAMES": ",".join(NEW)}
    with running_site(tmp_path_factory.mktemp("timeframes"), environment=enabled) as running:
        found = OracleSite(running)
        found.load(random_trades())
        yield found


def random_trades() -> list[Trade]:
    """Return trades of two series with ties, duplicates and corrections."""
    chance = random.Random(11)
    trades = []
    for number in range((NOW - BEGIN) // STEP):
        time = BEGIN + number * STEP
        for symbol in ("BTC-USD", "ETH-USD"):
            price, quantity = str(chance.randint(90, 110)), f"{chance.randint(1, 9)}.25"
            trades.append(trade(time, price, quantity, symbol=symbol))
            if chance.random() < 0.05:
                trades.append(trades[-1])
            elif chance.random() < 0.05:
                later = time + timedelta(minutes=1)
                trades.append(trade(time, "95", "3", symbol=symbol, ingested=later))
    return trades


def own_range(run: Run, timeframe: Timeframe) -> Range:
    return scheduled_range(timeframe, datetime.fromisoformat(run.interval_end or run.run_after))


def record(site: Site, run: Run) -> None:
    """Print a run for the record, with its range and its tasks."""
    tasks = site.airflow.tasks(run.dag_id, run.run_id)
    states = ", ".join(f"{name} {each['state']}" for name, each in sorted(tasks.items()))
    print(f"seen: {run.type} {run.dag_id} {run.run_id}: {run.state} ({states})")


def test_airflow_has_the_dags_of_the_enabled_timeframes_only(loaded: OracleSite) -> None:
    found = {each["dag_id"] for each in loaded.site.airflow.call("GET", "/dags", limit=100)["dags"]}
    assert {dag_id for dag_id in found if dag_id.removeprefix("ohlcv_") in TIMEFRAMES} == {
        f"ohlcv_{name}" for name in NEW
    }


@pytest.mark.parametrize("name", NEW)
def test_scheduled_cleared_and_backfilled_runs_equal_the_oracle(loaded: OracleSite, name: str) -> None:
    site, timeframe = loaded.site, TIMEFRAMES[name]
    run = site.complete_first_scheduled_run(timeframe.dag_id)
    record(site, run)
    built = own_range(run, timeframe)
    assert site.job_range(run) == (iso(built.start), iso(built.end))
    loaded.assert_exact(timeframe, built)

    # A late trade: the cleared run builds the same range again.
    loaded.load([trade(built.start + timedelta(minutes=1), "250", "4", symbol="ETH-USD")])
    site.clear(run)
    record(site, site.wait_until_successful(run))
    assert site.job_range(run) == (iso(built.start), iso(built.end))
    assert site.job_arguments(run)["--rebuild-pending"] == "no"
    loaded.assert_exact(timeframe, built)

    created = site.create_backfill(timeframe.dag_id, FROM, FROM + 2 * timeframe.length)
    path = f"/backfills/{created}"
    wait_for(lambda: site.airflow.call("GET", path)["completed_at"], f"backfill {created} ends", POLL_SECONDS, 1800)
    runs = site.runs(timeframe.dag_id, "backfill")
    assert [each.state for each in runs] == ["success"] * 2
    for each in runs:
        record(site, each)
        span = own_range(each, timeframe)
        assert site.job_range(each) == (iso(span.start), iso(span.end))
        loaded.assert_exact(timeframe, span)


def test_reprocessed_days_equal_the_oracle_in_each_timeframe(loaded: OracleSite) -> None:
    site = loaded.site
    record(site, site.complete_first_scheduled_run("ohlcv_reprocess"))
    run = site.trigger("ohlcv_reprocess", {"start": iso(BEGIN), "end": iso(BEGIN + 2 * DAY)})
    record(site, site.wait_until_successful(run))
    for name in NEW:
        # The scheduled run has built yesterday, or the day before it if it was due before 01:30.
        loaded.assert_exact(TIMEFRAMES[name], Range(BEGIN, BEGIN + 2 * DAY))
        keys = site.stored_candles(name)
        print(f"seen: {name}: {len(keys)} candles, all as in the oracle")
        newest = from_microseconds(max(key[2] for key in keys)) + TIMEFRAMES[name].length
        expected = loaded.expected(TIMEFRAMES[name], Range(BEGIN, newest))
        assert {key: each.candle for key, each in keys.items()} == {key: expected[key] for key in keys}
