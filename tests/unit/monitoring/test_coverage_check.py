"""The doctor and the health checks report a coverage that is behind, and an exchange without data while others flow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.typedef import Record

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.file_commits import commit_files, rows_of
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.model.intervals import iso
from ohlcv.model.partition_units import partition_number
from ohlcv.model.source_hours import format_hours, hour_number
from ohlcv.model.summary_keys import COVERAGE_PENDING, COVERAGE_UNTIL
from ohlcv.monitoring import health
from ohlcv.monitoring.coverage_check import check_coverage, measure_coverage
from support.ledger_rows import add_coverage_rows

pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")

UNTIL = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW = UNTIL + timedelta(minutes=40)
REMEDY = "unpause the DAG ohlcv_coverage, or run 'ohlcv coverage record'"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = load_settings({"OHLCV_HOME": str(tmp_path)})
    create_tables(found)
    return found


def add(settings: Settings, exchange: str, *hours_ago: int, **values: Any) -> None:
    """Add accepted trades of an exchange in hours before the newest counted one, and record until now."""
    hours = [(UNTIL - timedelta(hours=each + 1)).replace(tzinfo=None).isoformat() for each in hours_ago]
    properties = {COVERAGE_UNTIL: iso(UNTIL)} | values.pop("properties", {})
    add_coverage_rows(settings, *hours, exchange=exchange, properties=properties, **values)


def add_note(settings: Settings, **values: Any) -> None:
    """Record a note on the exchange down, by default one on an outage since an hour before the newest counted one."""
    catalog, contract = open_catalog(settings), settings.coverage_notes_contract
    table = load_table(catalog, contract)
    row = {
        **{"note": "n1", "kind": "outage", "exchange": "down", "symbol": None, "author": "a", "reason": "r"},
        **{"start_time": UNTIL - timedelta(hours=2), "end_time": None, "recorded_at": UNTIL},
    } | values
    month = Record(partition_number("month", UNTIL.date()))
    commit_files(catalog, contract, table, [(month, rows_of(table, [row]))], [], lambda: None)


def data(settings: Settings, now: datetime = NOW) -> dict[str, str]:
    """Return the state of each exchange."""
    return {each.subject: each.state for each in measure_coverage(settings, now) if each.aspect == "data"}


def coverage(settings: Settings, now: datetime = NOW) -> tuple[str, str]:
    [found] = [each for each in measure_coverage(settings, now) if each.aspect == "coverage"]
    assert found.subject == "trades"
    return found.state, found.found


def test_a_coverage_that_has_not_begun_is_no_alert(settings: Settings) -> None:
    assert list(check_coverage(settings, NOW)) == [("unused", f"nothing is recorded yet: {REMEDY}")]
    assert coverage(settings) == ("unknown", f"nothing is recorded yet: {REMEDY}")
    assert data(settings) == {}


def test_a_coverage_is_behind_when_two_runs_are_missed(settings: Settings) -> None:
    pending = format_hours([hour_number(UNTIL - timedelta(days=1))])
    add(settings, "kraken", 0, properties={COVERAGE_PENDING: pending})
    rest = "; 1 earlier hours are counted by the next runs"
    assert coverage(settings) == ("ok", f"counted until {iso(UNTIL)}, 40 min ago{rest}")
    assert list(check_coverage(settings, NOW)) == [("ok", f"the trades are counted until {iso(UNTIL)}{rest}")]
    in_time, late = UNTIL + timedelta(hours=3), UNTIL + timedelta(hours=3, seconds=1)
    assert coverage(settings, in_time)[0] == "ok"
    assert [state for state, _ in check_coverage(settings, in_time)] == ["ok"]
    assert coverage(settings, late)[0] == "alert"
    assert list(check_coverage(settings, late)) == [
        ("warning", f"the trades since {iso(UNTIL)} are not counted: {REMEDY}")
    ]


def test_an_exchange_without_data_is_in_alert_only_while_another_has_some(settings: Settings) -> None:
    add(settings, "down", 1)
    add(settings, "kraken", 1)
    # Nobody knows whether the feed has ended or the markets are quiet.
    assert data(settings) == {"down": "unknown", "kraken": "unknown"}
    add(settings, "kraken", 0)
    assert data(settings) == {"down": "alert", "kraken": "ok"}
    found = next(each for each in measure_coverage(settings, NOW) if each.subject == "down")
    assert found.value == 3600
    assert found.found == (
        "no trade in the hour from 2026-03-01T11:00:00Z; the last ones are in that from 2026-03-01T10:00:00Z; "
        "other exchanges have trades"
    )
    add(settings, "down", 0)
    assert data(settings) == {"down": "ok", "kraken": "ok"}


def test_rejected_trades_are_no_data(settings: Settings) -> None:
    add(settings, "down", 0, accepted=0)
    add(settings, "", 0, accepted=0)
    add(settings, "down", 5)
    add(settings, "kraken", 0)
    assert data(settings) == {"down": "alert", "kraken": "ok"}


@pytest.mark.parametrize(("hours_ago", "is_reported"), [(31 * 24 - 1, True), (31 * 24, False)])
def test_an_exchange_without_data_is_reported_for_31_days(
    settings: Settings, hours_ago: int, is_reported: bool
) -> None:
    add(settings, "down", hours_ago)
    add(settings, "kraken", 0)
    assert ("down" in data(settings)) == is_reported


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ({}, "quiet"),
        ({"kind": "halt"}, "quiet"),
        ({"kind": "delisting"}, "quiet"),
        # It says only that trades are expected.
        ({"kind": "expected"}, "alert"),
        ({"symbol": "BTC-USD"}, "alert"),
        ({"exchange": "kraken"}, "alert"),
        ({"withdrawn_at": UNTIL}, "alert"),
        ({"end_time": UNTIL - timedelta(hours=1)}, "alert"),
        ({"end_time": UNTIL - timedelta(minutes=59)}, "quiet"),
        ({"start_time": UNTIL}, "alert"),
    ],
)
def test_a_note_on_the_whole_exchange_explains_missing_data(
    settings: Settings, values: dict[str, Any], state: str
) -> None:
    add(settings, "down", 3)
    add(settings, "kraken", 0)
    add_note(settings, **values)
    assert data(settings) == {"down": state, "kraken": "ok"}


def test_pending_hours_and_an_old_coverage_prove_nothing(settings: Settings) -> None:
    pending = format_hours([hour_number(UNTIL) - 1])
    add(settings, "down", 1, 2)
    add(settings, "kraken", 0, 1, properties={COVERAGE_PENDING: pending})
    # The newest hour is counted again soon, so the one before it decides.
    assert data(settings) == {"down": "ok", "kraken": "ok"}
    add(settings, "kraken", 3, properties={COVERAGE_PENDING: ""})
    assert data(settings)["down"] == "alert"
    assert data(settings, UNTIL + timedelta(hours=4)) == {"down": "unknown", "kraken": "unknown"}


@pytest.mark.parametrize("name", ["coverage", "coverage_notes", "reconciliation", "publications"])
def test_health_works_before_an_upgrade_has_created_the_tables(settings: Settings, name: str) -> None:
    contract = getattr(settings, f"{name}_contract")
    open_catalog(settings).drop_table(contract.identifier)
    problem = f"there is no table {contract}: run 'ohlcv tables create'"
    found = {(each.subject, each.aspect): each for each in health.health(settings, NOW)}
    assert (found[contract.name, "storage"].state, found[contract.name, "storage"].found) == ("unknown", problem)
    if name in ("coverage", "coverage_notes"):
        assert (found["trades", "coverage"].state, found["trades", "coverage"].found) == ("unknown", problem)
    if name == "publications":
        assert (found["1m", "ledger"].state, found["1m", "ledger"].found) == ("unknown", problem)
    assert not [each for each in found.values() if each.state == "alert"]
