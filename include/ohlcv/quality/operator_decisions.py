"""Decisions of operators on held series: retries and waivers, stored as a property of the candle table."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table

from ohlcv.config.settings import Settings
from ohlcv.iceberg.audit_state import AuditState, read_audit_state, read_decisions
from ohlcv.iceberg.tables import load_table, load_table_to_write, open_catalog
from ohlcv.iceberg.write_lock import LockedTableError, write_lock
from ohlcv.model.audit_records import DECISIONS_PROPERTY, Decisions, HeldSeries, Waiver, values_digest
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import iso
from ohlcv.model.timeframes import TIMEFRAMES, Timeframe
from ohlcv.quality.failed_candles import failed_candles, recompute_failures

# Runs hold the lock while they work: most of them for less than this.
LOCK_SECONDS = 30.0
# Maintenance may commit at the same time.
COMMIT_ATTEMPTS = 5


def request_retry(settings: Settings, key: str, now: datetime) -> HeldSeries:
    """Ask for a retry of a held series by the next scheduled run, and return the series."""
    timeframe = timeframe_of(settings, key)

    def decide(state: AuditState) -> Decisions:
        return _with_retry(state.decisions, held_series_of(state, key))

    return held_series_of(_store(settings, timeframe, now, decide), key)


def waive(settings: Settings, key: str, *, reason: str, author: str, now: datetime) -> Waiver:
    """Waive the findings of a held series, so that the next scheduled run publishes its candles."""
    timeframe = timeframe_of(settings, key)
    catalog = open_catalog(settings)
    candles = load_table(catalog, settings.candles_contract(timeframe))
    state = read_audit_state(candles, timeframe)
    held = held_series_of(state, key)
    name = held.name(timeframe)
    if key != held.name_with_values(timeframe):
        raise InputError(
            f"{key} does not name the values to waive: give KEY@VALUES as in 'ohlcv audit status', "
            f"after 'ohlcv audit show {name}'"
        )
    _check_not_waived(state, held)
    failed = failed_candles(settings, catalog, timeframe, candles, held)
    if failed.notes:
        raise InputError(f"{name} cannot be waived: {'; '.join(failed.notes)}; see 'ohlcv audit retry {name}'")
    waived = state.decisions.waived_findings()
    findings = {each.digest for each in recompute_failures(settings, failed)} - waived
    if values_digest(findings) != held.values:
        raise InputError(
            f"{name} cannot be waived: the findings of its candles are not those that were recorded; "
            f"see 'ohlcv audit retry {name}'"
        )
    waiver = Waiver(*held.key, held.values, tuple(sorted(findings)), author, reason, iso(now.replace(microsecond=0)))

    def decide(state: AuditState) -> Decisions:
        found = held_series_of(state, key)
        _check_not_waived(state, found)
        decisions = _with_retry(state.decisions, found)
        return replace(decisions, waivers=(*decisions.waivers, waiver))

    _store(settings, timeframe, now, decide)
    return waiver


def timeframe_of(settings: Settings, key: str) -> Timeframe:
    """Return the timeframe that a key begins with."""
    name = key.partition(":")[0]
    if name not in TIMEFRAMES or ":" not in key:
        raise InputError(
            f"'{key}' is no key of a held series, such as 1m:2026-03-01T12:binance:BTC/USD: see 'ohlcv audit status'"
        )
    return settings.timeframe(name)


def held_series_of(state: AuditState, key: str) -> HeldSeries:
    """Return the held series with a key. Raise InputError if it is not held, or not with these values."""
    held = state.find_held(key)
    if held is None:
        raise InputError(f"{key} is not held: see 'ohlcv audit status'")
    return held


def _check_not_waived(state: AuditState, held: HeldSeries) -> None:
    for waiver in state.decisions.waivers:
        if (waiver.key, waiver.values) == (held.key, held.values):
            raise InputError(
                f"{held.name_with_values(state.timeframe)} is already waived by {waiver.author} since {waiver.at}: "
                "the next scheduled run publishes it"
            )


def _with_retry(decisions: Decisions, held: HeldSeries) -> Decisions:
    if decisions.wants_retry(held):
        return decisions
    return replace(decisions, retries=(*decisions.retries, held.retry()))


def _store(
    settings: Settings, timeframe: Timeframe, now: datetime, decide: Callable[[AuditState], Decisions]
) -> AuditState:
    """Store what `decide` returns for the present state, without decisions that have ended, and return the state."""
    contract = settings.candles_contract(timeframe)
    with ExitStack() as stack:
        try:
            assert_lock_held = stack.enter_context(write_lock(settings, contract, LOCK_SECONDS))
        except LockedTableError as error:
            raise InputError(str(error)) from None
        for _ in range(COMMIT_ATTEMPTS):
            table = load_table_to_write(settings, contract)
            state = read_audit_state(table, timeframe)
            decisions = _without_expired(decide(state), state, now)
            if decisions == state.decisions:
                return state
            assert_lock_held()
            try:
                with table.transaction() as transaction:
                    transaction.set_properties({DECISIONS_PROPERTY: decisions.to_text()})
            except CommitFailedException:
                continue
            if not settings.catalog.has_lock:
                _check_stored(load_table(open_catalog(settings), contract), decisions)
            return state
    raise InputError(f"{contract} changes all the time: nothing was stored, try again")


def _check_stored(table: Table, decisions: Decisions) -> None:
    """Raise InputError if another operator has replaced the decisions at the same time."""
    if read_decisions(table) != decisions:
        raise InputError(
            "another operator has stored a decision at the same time: see 'ohlcv audit status', and run again"
        )


def _without_expired(decisions: Decisions, state: AuditState, now: datetime) -> Decisions:
    """Remove retries that a run has followed, and waivers of windows that retention deletes."""
    keys = {each.key for each in state.held}
    wanted = {each.retry() for each in state.held}
    cutoff = state.timeframe.cutoff(now.date())
    return Decisions(
        tuple(
            each for each in decisions.waivers if each.key in keys or each.span(state.timeframe).start.date() >= cutoff
        ),
        tuple(each for each in decisions.retries if each in wanted),
    )
