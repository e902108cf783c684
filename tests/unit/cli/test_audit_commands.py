"""`ohlcv audit show`, `retry` and `waive` on held series and rejected runs."""

from __future__ import annotations

import json
import subprocess
import threading
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from ohlcv.config.settings import Settings
from ohlcv.iceberg.audit_state import AuditState, read_audit_state
from ohlcv.iceberg.tables import load_table
from ohlcv.iceberg.write_lock import write_lock
from ohlcv.model import audit_records
from ohlcv.model.audit_records import DECISIONS_PROPERTY, Decisions, HeldSeries, Retry
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import iso
from ohlcv.model.source_hours import hour_number
from ohlcv.quality import operator_decisions
from ohlcv.quality.failed_candles import recompute_failures
from support.audit_records import NOON, held_series, hold, hold_candidate, reject, rejected_run
from support.audited_tables import add_trades, built, candle_table, publish, stage, trade
from support.candle_rows import DAY, MINUTE, at
from support.command_line import OHLCV, ColdCommandLine, WarmCommandLine
from support.default_tables import candles_contract

pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")

GOOD = built(MINUTE, "2026-03-01T12:00")
WRONG = GOOD | {"close_price": Decimal("0.5"), "low_price": Decimal("0.5")}
START = at("2026-03-01")
KEY = "1m:2026-03-01T12:X:BTC"


@dataclass
class Site:
    """A candle table with one held series, of which close and low are wrong."""

    settings: Settings
    held: HeldSeries

    @property
    def name(self) -> str:
        return f"{KEY}@{self.held.values}"

    @property
    def state(self) -> AuditState:
        return read_audit_state(candle_table(self.settings, MINUTE), MINUTE)

    @property
    def location(self) -> str:
        """Return the metadata file, which changes with every commit."""
        return candle_table(self.settings, MINUTE).metadata_location


@pytest.fixture
def site(settings: Settings) -> Site:
    first = trade("2026-03-01T12:00")
    version = {"ingestion_timestamp": first["ingestion_timestamp"] - 1}
    snapshot = add_trades(
        settings,
        first,
        first | version,
        first | version | {"price": Decimal(2)},
        trade("2026-03-01T12:00", "0"),
        trade("2026-03-01T12:00", symbol="ETH"),
    )
    publish(settings, MINUTE, [GOOD | {"close_price": Decimal("0.75")}])
    rows = [WRONG, built(MINUTE, "2026-03-01T12:00", symbol="ETH")]
    findings = [
        ("fields_equal_the_trades", f"{name} 0.50000000", "1.00000000") for name in ("close_price", "low_price")
    ]
    return Site(settings, hold_candidate(settings, MINUTE, rows, snapshot, findings))


def shown(warm: WarmCommandLine, *arguments: str) -> dict[str, Any]:
    (found,) = json.loads(warm.succeed("audit", "show", *arguments, "--json"))["shown"]
    return dict(found)


def test_a_held_series_is_shown_with_its_values_and_trades(site: Site, warm: WarmCommandLine) -> None:
    found = shown(warm, site.name)
    assert found == shown(warm, KEY)
    assert (found["kind"], found["name"], found["notes"], found["findings_total"]) == ("held", site.name, [], 2)
    assert [(each["held"], each["stored"], each["recomputed"]) for each in found["findings"]] == [
        ("close_price 0.50000000", "close_price 0.75000000", "1.00000000"),
        ("low_price 0.50000000", "low_price 1.00000000", "1.00000000"),
    ]
    (window,) = found["windows"]
    assert [window[side]["close_price"] for side in ("held", "stored", "recomputed")] == [
        "0.50000000",
        "0.75000000",
        "1.00000000",
    ]
    assert window["verdicts"] == {"accepted": 1, "duplicate": 1, "superseded": 1, "rejected: bad_price": 1}
    # Trades of one time are in the order of their ingestion, their ids and their prices.
    assert [(each["price"], each["verdict"]) for each in window["trades"]] == [
        ("1.00000000", "duplicate"),
        ("2.00000000", "superseded"),
        ("0.00000000", "rejected: bad_price"),
        ("1.00000000", "accepted"),
    ]
    text = " ".join(warm.succeed("audit", "show", KEY).split())
    assert f"{site.name}: held since 2026-03-01T12:10:00Z" in text
    assert "close_price 0.50000000 0.75000000 1.00000000" in text
    assert "4 trades: 1 accepted, 1 duplicate, 1 rejected: bad_price, 1 superseded" in text


def test_a_rejected_run_is_shown_with_all_its_series(site: Site, warm: WarmCommandLine) -> None:
    run = rejected_run(candidate=site.held.candidate, trades_snapshot=site.held.trades_snapshot)
    reject(site.settings, MINUTE, run)
    found = shown(warm, run.run_id)
    assert (found["kind"], found["name"], found["findings_total"], found["windows_total"]) == (
        "rejected",
        run.run_id,
        2,
        1,
    )
    assert "was rejected at 2026-03-01T12:30:00Z" in warm.succeed("audit", "show", run.run_id)
    # A run of `ohlcv build` has no id.
    reject(site.settings, MINUTE, replace(run, run_id=""))
    assert shown(warm, "1m")["findings_total"] == 2


def test_trades_of_all_hours_of_a_daily_candle_are_shown(settings: Settings, warm: WarmCommandLine) -> None:
    times = ("2026-03-01T03:00", "2026-03-01T20:00")
    snapshot = add_trades(settings, *map(trade, times), trade("2026-03-02T20:00"))
    rows = [built(DAY, "2026-03-01") | {"trade_count": 1}]
    candidate = stage(
        settings, DAY, rows, {"ohlcv.range-start": iso(START), "ohlcv.range-end": iso(START + 2 * DAY.length)}
    )
    hour = hour_number(START)
    hold(
        settings, DAY, held_series(exchange="X", symbol="BTC", hour=hour, candidate=candidate, trades_snapshot=snapshot)
    )
    found = shown(warm, "1d:2026-03-01T00:X:BTC")
    assert [each["held"] for each in found["findings"]] == ["trade_count 1", "volume 2.00000000"]
    (window,) = found["windows"]
    assert (window["stored"], window["verdicts"]) == (None, {"accepted": 2})
    assert [each["time"] for each in window["trades"]] == [f"{time}:00Z" for time in times]


def test_expired_snapshots_are_said_and_the_rest_is_shown(site: Site, warm: WarmCommandLine) -> None:
    hold(site.settings, MINUTE, replace(site.held, candidate=7))
    found = shown(warm, KEY)
    assert found["notes"] == ["the snapshot 7 with the failed candles has expired"]
    (window,) = found["windows"]
    assert (window["held"], window["stored"]["close_price"], window["recomputed"]["close_price"]) == (
        None,
        "0.75000000",
        "1.00000000",
    )
    assert window["trades_total"] == 4
    hold(site.settings, MINUTE, replace(site.held, trades_snapshot=8))
    found = shown(warm, KEY)
    assert found["notes"] == ["the trades snapshot 8 has expired: nothing can be recomputed"]
    (window,) = found["windows"]
    assert (window["held"]["close_price"], window["stored"]["close_price"], window["recomputed"]) == (
        "0.50000000",
        "0.75000000",
        None,
    )
    run = rejected_run(trades_snapshot=8)
    reject(site.settings, MINUTE, run)
    text = warm.succeed("audit", "show", run.run_id)
    assert f"recorded: {run.first[0]}" in text


def test_an_unknown_run_or_key_is_one_line(site: Site, warm: WarmCommandLine) -> None:
    for text in ("scheduled__x", "1m:2026-03-01T13:X:BTC", "1m"):
        assert warm.fail(2, "audit", "show", text) == (
            f"'{text}' is neither a held series nor the newest rejected run of a table: see 'ohlcv audit status'"
        )
    assert warm.fail(2, "audit", "show", KEY, "--timeframe", "1d").startswith(f"'{KEY}' is neither")


def test_a_retry_is_stored_once(site: Site, warm: WarmCommandLine) -> None:
    assert warm.succeed("audit", "retry", KEY).startswith(f"{KEY}: the next scheduled run tries it again")
    assert site.state.decisions == Decisions(retries=(Retry("X", "BTC", site.held.hour, site.held.tried),))
    before = site.location
    warm.succeed("audit", "retry", site.name)
    assert site.location == before


def test_a_waiver_is_bound_to_the_findings_and_asks_for_a_retry(site: Site, warm: WarmCommandLine) -> None:
    answer = warm.succeed("audit", "waive", site.name, "--reason", "feed [7]", "--author", "ops")
    assert answer == f"{site.name}: 2 findings waived by ops; the next scheduled run publishes its candles\n"
    (waiver,) = site.state.decisions.waivers
    assert (waiver.key, waiver.values, waiver.author, waiver.reason) == (
        site.held.key,
        site.held.values,
        "ops",
        "feed [7]",
    )
    assert audit_records.values_digest(waiver.findings) == site.held.values
    assert site.state.decisions.wants_retry(site.held)
    before = site.location
    message = warm.fail(2, "audit", "waive", site.name, "--reason", "again")
    assert message.startswith(f"{site.name} is already waived by ops since ")
    assert site.location == before


def test_the_author_is_the_login_user(site: Site, warm: WarmCommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "jane")
    assert "waived by jane" in warm.succeed("audit", "waive", site.name, "--reason", "x")

    def no_name() -> str:
        raise KeyError("getpwuid(): uid not found: 77")

    monkeypatch.setattr("getpass.getuser", no_name)
    assert warm.fail(2, "audit", "waive", site.name, "--reason", "x").startswith("the login user has no name")


def test_invalid_input_changes_nothing(site: Site, warm: WarmCommandLine) -> None:
    before = site.location
    other = "1m:2026-03-01T13:X:BTC"
    for arguments, message in (
        (("retry", other), f"{other} is not held: see 'ohlcv audit status'"),
        (("retry", "nonsense"), "'nonsense' is no key of a held series, such as 1m:2026-03-01T12:binance:BTC/USD"),
        (("retry", f"{KEY}@00000000"), f"the values of {KEY} have changed, now it is {site.name}: see"),
        (("waive", site.name), "Missing option '--reason'"),
        (("waive", site.name, "--reason", " "), "Invalid value for '--reason': the value is empty"),
        (("waive", KEY, "--reason", "x"), f"{KEY} does not name the values to waive: give KEY@VALUES"),
        (
            ("waive", f"{KEY}@00000000", "--reason", "x"),
            f"the values of {KEY} have changed, now it is {site.name}: see",
        ),
        (("waive", f"{other}@00000000", "--reason", "x"), f"{other}@00000000 is not held: see"),
    ):
        assert warm.fail(2, "audit", *arguments).startswith(message)
    assert site.location == before


def test_candles_that_cannot_be_verified_are_not_waived(site: Site, warm: WarmCommandLine) -> None:
    changes: list[tuple[dict[str, Any], str]] = [
        ({"candidate": 7}, "the snapshot 7 with the failed candles has expired; see"),
        ({"candidate": None}, "the failed candles were audited before they were written: they are not stored; see"),
        ({"trades_snapshot": 8}, "the trades snapshot 8 has expired: nothing can be recomputed; see"),
        ({"values": "00000000"}, "the findings of its candles are not those that were recorded; see"),
    ]
    for change, message in changes:
        held = replace(site.held, **change)
        hold(site.settings, MINUTE, held)
        before = site.location
        found = warm.fail(2, "audit", "waive", f"{KEY}@{held.values}", "--reason", "x")
        assert found.startswith(f"{KEY} cannot be waived: {message} 'ohlcv audit retry {KEY}'")
        assert site.location == before


def test_a_decision_waits_for_the_write_lock(
    site: Site, warm: WarmCommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator_decisions, "LOCK_SECONDS", 0.0)
    before = site.location
    with write_lock(site.settings, candles_contract(MINUTE)):
        for arguments in (("retry", KEY), ("waive", site.name, "--reason", "x")):
            message = warm.fail(2, "audit", *arguments)
            assert message.startswith("market_data.gold_ohlcv_1m is locked by process ")
    assert site.location == before
    warm.succeed("audit", "retry", KEY)


def test_two_operators_at_once_both_decide(site: Site, cold: ColdCommandLine) -> None:
    """Two processes wait for the lock with the same state; the second one adds to the decisions of the first."""
    other = replace(site.held, symbol="ETH")
    hold(site.settings, MINUTE, site.held, other)
    with write_lock(site.settings, candles_contract(MINUTE)):
        processes = [
            subprocess.Popen(
                [OHLCV, "audit", *arguments],
                env=cold.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for arguments in (("retry", "1m:2026-03-01T12:X:ETH"), ("waive", site.name, "--reason", "x"))
        ]
        for process in processes:
            assert process.stderr is not None
            assert process.stderr.readline().startswith(("waiting for the write lock", "recomputing"))
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    decisions = site.state.decisions
    assert [waiver.key for waiver in decisions.waivers] == [site.held.key]
    assert {retry.symbol for retry in decisions.retries} == {"BTC", "ETH"}


def test_of_two_waivers_at_once_one_is_stored(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    results: list[str] = []
    both_recomputed = threading.Barrier(2)
    recompute = recompute_failures

    def recompute_and_wait(*arguments: Any) -> Any:
        found = recompute(*arguments)
        both_recomputed.wait(60)
        return found

    monkeypatch.setattr(operator_decisions, "recompute_failures", recompute_and_wait)

    def decide(author: str) -> None:
        try:
            operator_decisions.waive(site.settings, site.name, reason="x", author=author, now=NOON)
            results.append(author)
        except InputError as error:
            results.append(str(error))

    threads = [threading.Thread(target=decide, args=(author,)) for author in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (waiver,) = site.state.decisions.waivers
    assert sorted(results) == sorted(
        [
            waiver.author,
            f"{site.name} is already waived by {waiver.author} since 2026-03-01T12:00:00Z: "
            "the next scheduled run publishes it",
        ]
    )


def test_a_lost_decision_is_noticed_on_a_catalog_without_a_lock(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another operator replaces the decisions between the commit and its verification."""
    monkeypatch.setattr(type(site.settings.catalog), "has_lock", False)
    load = load_table

    def load_replaced(*arguments: Any) -> Any:
        with candle_table(site.settings, MINUTE).transaction() as transaction:
            transaction.set_properties({DECISIONS_PROPERTY: Decisions().to_text()})
        return load(*arguments)

    monkeypatch.setattr(operator_decisions, "load_table", load_replaced)
    with pytest.raises(InputError, match="another operator has stored a decision at the same time"):
        operator_decisions.request_retry(site.settings, KEY, NOON)


def test_decisions_that_have_ended_are_removed(site: Site, warm: WarmCommandLine) -> None:
    """A retry ends with the next try, a waiver when retention deletes its candles."""
    waiver = audit_records.Waiver("X", "old", site.held.hour, "v", ("f",), "a", "r", "2026-03-01T12:00:00Z")
    retries = (Retry("X", "BTC", site.held.hour, "2026-03-01T11:00:00Z"), Retry("X", "gone", 1, "x"))
    with candle_table(site.settings, MINUTE).transaction() as transaction:
        transaction.set_properties({DECISIONS_PROPERTY: Decisions((waiver,), retries).to_text()})
    now = datetime.fromisoformat("2026-05-30T00:00:00Z")
    operator_decisions.request_retry(site.settings, KEY, now)
    wanted = (Retry("X", "BTC", site.held.hour, site.held.tried),)
    assert site.state.decisions == Decisions((waiver,), wanted)
    hold(site.settings, MINUTE, tried := replace(site.held, tried="2026-03-01T13:10:00Z"))
    operator_decisions.request_retry(site.settings, KEY, now.replace(day=31))
    assert site.state.decisions == Decisions((), (Retry("X", "BTC", site.held.hour, tried.tried),))
