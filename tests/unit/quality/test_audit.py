"""The audit of candidates: each defect is found, and attributed to its series where that is possible."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from decimal import Decimal

import duckdb
import pyarrow as pa
import pytest
from pyiceberg.types import StringType
from sqlalchemy.exc import OperationalError

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.model.audit_records import NO_DECISIONS, Decisions, Waiver, values_digest
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import Range, day_range
from ohlcv.model.source_hours import hour_number
from ohlcv.quality import candidate_audit
from ohlcv.quality.audit import Audit, AuditResult, AuditScope, held_key
from ohlcv.quality.report import Finding
from support.audited_tables import add_trades, built, candle_table, publish, stage, trade
from support.candle_rows import DAY, HOUR, MINUTE, Row, at
from support.default_tables import TRADES, candles_contract

NOON, ONE = at("2026-03-01T12:00"), at("2026-03-01T13:00")
SCOPE = AuditScope(MINUTE, [Range(NOON, ONE)])
KEY = ("X", "BTC", hour_number(NOON))
BTC, ETH = built(MINUTE, "2026-03-01T12:00"), built(MINUTE, "2026-03-01T12:01", symbol="ETH")
# A stored candle before the range, and what a run makes of it and the trades.
CARRIED = built(MINUTE, "2026-03-01T11:59", "5")
CORRECT = (CARRIED, BTC, ETH)
WRONG = BTC | {"close_price": Decimal("0.5"), "low_price": Decimal("0.5")}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, int]:
    """Tables with trades and a published candle, and the trades snapshot. Candidates do not change them."""
    settings = load_settings({"OHLCV_HOME": str(tmp_path_factory.mktemp("audit") / "home")})
    create_tables(settings)
    publish(settings, MINUTE, [CARRIED])
    trades = [
        trade("2026-03-01T11:59", "5"),
        trade("2026-03-01T12:00"),
        trade("2026-03-01T12:01", symbol="ETH"),
        # Rejected.
        *(trade(f"2026-03-01T12:0{minute}", "-1", symbol="BAD") for minute in range(2)),
    ]
    return settings, add_trades(settings, *trades)


@pytest.fixture(scope="module")
def audit(loaded: tuple[Settings, int]) -> Iterator[Audit]:
    settings, snapshot = loaded
    # Later trades are no part of the audit.
    add_trades(settings, trade("2026-03-01T12:00", "9"))
    with closing(
        Audit(settings, [MINUTE], [Range(at("2026-03-01T11:00"), ONE)], snapshot, metadata_of(settings), "512m")
    ) as audit:
        yield audit


@pytest.fixture
def check(loaded: tuple[Settings, int], audit: Audit) -> Check:
    return Check(loaded[0], audit)


class Check:
    """Stages candidates and audits them."""

    def __init__(self, settings: Settings, audit: Audit) -> None:
        self.settings = settings
        self.audit = audit

    def __call__(self, *rows: Row, scope: AuditScope = SCOPE, decisions: Decisions = NO_DECISIONS) -> AuditResult:
        candidate = stage(self.settings, scope.timeframe, rows)
        return self.candidate(candidate, scope, decisions)

    def candidate(self, candidate: int, scope: AuditScope = SCOPE, decisions: Decisions = NO_DECISIONS) -> AuditResult:
        """Audit a snapshot."""
        contract = candles_contract(scope.timeframe)
        metadata = candle_table(self.settings, scope.timeframe).metadata_location
        return self.audit.check_candidate(scope, contract, candidate, metadata, decisions)


def metadata_of(settings: Settings) -> str:
    return load_table(open_catalog(settings), TRADES).metadata_location


def found(result: AuditResult) -> list[tuple[str, str, str, str]]:
    return [(each.rule, each.symbol, each.stored, each.expected) for each in result.findings]


def test_correct_candles_pass(check: Check) -> None:
    result = check(*CORRECT)
    assert (result.findings, result.waived, result.series, result.failing(MINUTE)) == ([], [], 2, {})
    assert [(each.rule, each.symbol) for each in check.audit.warnings()] == [("few_trades_are_rejected", "BAD")]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param(
            [WRONG, ETH],
            [
                ("fields_equal_the_trades", "BTC", "close_price 0.50000000", "1.00000000"),
                ("fields_equal_the_trades", "BTC", "low_price 0.50000000", "1.00000000"),
            ],
            id="wrong value",
        ),
        pytest.param([ETH], [("none_is_missing", "BTC", "nothing", "1 trades")], id="missing"),
        pytest.param(
            [BTC, ETH, built(MINUTE, "2026-03-01T12:59")], [("none_is_extra", "BTC", "1 trades", "nothing")], id="extra"
        ),
        pytest.param([BTC, BTC, ETH], [("key_is_unique", "BTC", "2 rows", "1 row")], id="doubled"),
    ],
)
def test_a_defect_fails_its_series(check: Check, rows: list[Row], expected: list[tuple[str, ...]]) -> None:
    result = check(CARRIED, *rows)
    assert found(result) == expected
    assert (result.series, result.failing(MINUTE)) == (2, {KEY: result.findings})


def test_candles_of_files_that_the_candidate_keeps_are_compared(check: Check) -> None:
    scope = AuditScope(MINUTE, [Range(at("2026-03-01T11:00"), ONE)])
    candidate = stage(check.settings, MINUTE, [BTC, ETH], append=True)
    assert check.candidate(candidate, scope).findings == []
    candidate = stage(check.settings, MINUTE, [CARRIED, BTC, ETH], append=True)
    result = check.candidate(candidate, scope)
    assert found(result) == [("key_is_unique", "BTC", "2 rows", "1 row")]


@pytest.mark.parametrize(
    ("rows", "stored", "expected"),
    [
        ([CARRIED | {"high_price": Decimal(6)}], "high_price 6.00000000", "high_price 5.00000000"),
        (
            [CARRIED | {"created_at": CARRIED["updated_at"]}],
            "created_at 2026-03-01 12:01:00.123456+00",
            "created_at 2026-03-01 12:00:00.123456+00",
        ),
        ([], "nothing", "a row"),
        ([CARRIED, CARRIED], "a row", "nothing"),
        ([CARRIED, built(MINUTE, "2026-01-01T00:00")], "a row", "nothing"),
        ([CARRIED, BTC | {"window_start": None}], "a row", "nothing"),
    ],
    ids=["value", "created_at", "dropped", "doubled", "added", "without a time"],
)
def test_a_changed_row_outside_the_ranges_rejects(check: Check, rows: list[Row], stored: str, expected: str) -> None:
    result = check(*rows, BTC, ETH)
    assert found(result) == [("carried_over_rows_are_unchanged", "BTC", stored, expected)]
    assert result.failing(MINUTE) is None


def test_a_row_without_series_rejects(check: Check) -> None:
    result = check(*CORRECT, BTC | {"symbol": None})
    assert [each.rule for each in result.findings] == ["none_is_extra"]
    assert result.failing(MINUTE) is None


def test_a_window_that_is_not_aligned_belongs_to_its_day() -> None:
    finding = Finding("window_is_aligned", "FAIL", "BTC", "X", "2026-03-01T05:30:00Z", "", "")
    assert held_key(DAY, finding) == ("X", "BTC", hour_number(at("2026-03-01T00:00")))
    assert held_key(MINUTE, finding) == ("X", "BTC", hour_number(at("2026-03-01T05:00")))


def test_a_candle_that_is_withheld_is_no_finding(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ohlcv.quality.rule_database.AMOUNT_LIMIT", 1)
    assert [each.rule for each in check(CARRIED).findings] == []


class TestHeldKeys:
    """A held key keeps its stored candles, which need not equal the trades."""

    scope = replace(SCOPE, held=frozenset({KEY}))

    def test_they_are_not_compared_with_the_trades(self, check: Check) -> None:
        result = check(CARRIED, ETH, scope=self.scope)
        assert (result.findings, result.series) == ([], 2)

    def test_other_series_are(self, check: Check) -> None:
        result = check(CARRIED, scope=self.scope)
        assert found(result) == [("none_is_missing", "ETH", "nothing", "1 trades")]

    def test_other_hours_are(self, check: Check) -> None:
        scope = replace(SCOPE, held=frozenset({("X", "BTC", KEY[2] - 1)}))
        assert found(check(CARRIED, ETH, scope=scope)) == [("none_is_missing", "BTC", "nothing", "1 trades")]

    def test_their_rows_must_not_change(self, check: Check) -> None:
        result = check(*CORRECT, scope=self.scope)
        assert found(result) == [("carried_over_rows_are_unchanged", "BTC", "a row", "nothing")]


def waiver(result: AuditResult) -> Decisions:
    digests = tuple(each.digest for each in result.findings)
    return Decisions((Waiver(*KEY, values_digest(digests), digests, "me", "known", "2026-03-01T14:00:00Z"),))


def test_waived_findings_do_not_fail(check: Check) -> None:
    rejected = check(CARRIED, WRONG, ETH)
    accepted = check(CARRIED, WRONG, ETH, decisions=waiver(rejected))
    assert (accepted.findings, accepted.waived) == ([], rejected.findings)


def test_a_waiver_is_bound_to_the_values(check: Check) -> None:
    decisions = waiver(check(CARRIED, WRONG, ETH))
    assert len(check(CARRIED, WRONG | {"close_price": Decimal("0.75")}, ETH, decisions=decisions).findings) == 1


def test_computed_rows_are_checked_before_they_are_written(check: Check) -> None:
    schema = candle_table(check.settings, MINUTE).schema().as_arrow()

    def checked(*rows: Row) -> list[tuple[str, str, str, str]]:
        table = pa.Table.from_pylist(list(rows), schema=schema)
        return found(check.audit.check_rows(SCOPE, table, False, NO_DECISIONS))

    assert checked(BTC, ETH) == []
    assert checked(BTC) == [("none_is_missing", "ETH", "nothing", "1 trades")]


def test_columns_of_other_writers_are_compared(settings: Settings) -> None:
    with candle_table(settings, MINUTE).update_schema() as update:
        update.add_column('a "note"', StringType())
    publish(settings, MINUTE, [CARRIED | {'a "note"': "x"}])
    with closing(
        Audit(
            settings,
            [MINUTE],
            SCOPE.ranges,
            add_trades(settings, trade("2026-03-01T12:00")),
            metadata_of(settings),
            "512m",
        )
    ) as audit:
        assert found(Check(settings, audit)(CARRIED | {'a "note"': "x"}, BTC)) == []
        assert found(Check(settings, audit)(CARRIED, BTC)) == [
            ("carried_over_rows_are_unchanged", "BTC", 'a "note" NULL', 'a "note" x')
        ]


class TestPreservedCandles:
    """The trades of an hour of the day have expired, so a rebuild preserves its candles."""

    old = built(DAY, "2026-03-01", "5") | {"trade_count": 2}
    scope = AuditScope(DAY, [day_range(NOON.date())])

    @pytest.fixture
    def check(self, settings: Settings) -> Iterator[Check]:
        publish(settings, DAY, [self.old])
        snapshot = add_trades(settings, trade("2026-03-01T12:00", "5"))
        with closing(Audit(settings, [DAY], self.scope.ranges, snapshot, metadata_of(settings), "512m")) as audit:
            yield Check(settings, audit)

    def test_they_must_not_change(self, check: Check) -> None:
        assert found(check(self.old, scope=self.scope)) == []
        for row, stored, expected in (
            ([self.old | {"high_price": Decimal(6)}], "high_price 6.00000000", "high_price 5.00000000"),
            ([], "nothing", "a row"),
        ):
            result = check(*row, scope=self.scope)
            changed = ("carried_over_rows_are_unchanged", "BTC", stored, expected)
            assert [each for each in found(result) if each[0] != "none_is_missing"] == [changed]

    def test_a_candle_that_is_withheld_replaces_them(self, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ohlcv.quality.rule_database.AMOUNT_LIMIT", 1)
        assert found(check(scope=self.scope)) == []

    def test_pruning_deletes_them(self, check: Check) -> None:
        new = built(DAY, "2026-03-01", "5")
        assert found(check(new, scope=replace(self.scope, prune=True))) == []


def test_one_audit_checks_several_timeframes(settings: Settings) -> None:
    snapshot = add_trades(settings, trade("2026-03-01T12:00"))
    timeframes = (MINUTE, HOUR, DAY)
    day = day_range(NOON.date())
    with closing(Audit(settings, timeframes, [day], snapshot, metadata_of(settings), "512m")) as audit:
        for timeframe in timeframes:
            start = "2026-03-01" if timeframe is DAY else "2026-03-01T12:00"
            correct, wrong = built(timeframe, start), built(timeframe, start, "2")
            scope = AuditScope(timeframe, [day])
            assert Check(settings, audit)(correct, scope=scope).findings == []
            failing = Check(settings, audit)(wrong, scope=scope).failing(timeframe)
            assert failing is not None
            assert list(failing) == [("X", "BTC", hour_number(day.start if timeframe is DAY else NOON))]


def test_without_a_trades_snapshot_there_are_no_trades(loaded: tuple[Settings, int]) -> None:
    settings, _ = loaded
    with closing(Audit(settings, [MINUTE], SCOPE.ranges, None, metadata_of(settings), "512m")) as audit:
        assert found(Check(settings, audit)(CARRIED)) == []
        assert [each[:2] for each in found(Check(settings, audit)(CARRIED, BTC))] == [
            ("carried_over_rows_are_unchanged", "BTC")
        ]


class TestExpiredTradesSnapshot:
    """Maintenance has expired the trades snapshot that the job read."""

    @pytest.fixture
    def expired(self, settings: Settings) -> tuple[int, str]:
        """Return a snapshot that the catalog does not show any more, and its metadata file."""
        snapshot = add_trades(settings, trade("2026-03-01T12:00"))
        metadata = load_table(open_catalog(settings), TRADES).metadata_location
        add_trades(settings, trade("2026-03-01T12:01", symbol="ETH"))
        load_table(open_catalog(settings), TRADES).maintenance.expire_snapshots().by_id(snapshot).commit()
        return snapshot, metadata

    def test_nothing_is_audited(self, settings: Settings, expired: tuple[int, str]) -> None:
        with closing(Audit(settings, [MINUTE], SCOPE.ranges, expired[0], metadata_of(settings), "512m")) as audit:
            problem = f"the trades snapshot {expired[0]} has expired, .* nothing was published: run again"
            with pytest.raises(OhlcvError, match=problem):
                Check(settings, audit)(BTC)

    def test_its_metadata_file_may_still_exist(self, settings: Settings, expired: tuple[int, str]) -> None:
        with closing(Audit(settings, [MINUTE], SCOPE.ranges, *expired, "512m")) as audit:
            assert Check(settings, audit)(BTC).findings == []


def test_too_little_memory_is_named(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise duckdb.OutOfMemoryException

    monkeypatch.setattr(candidate_audit, "_changed_files", fail)
    with pytest.raises(OhlcvError, match=r"needs more memory than 512m.*raise OHLCV_AUDIT_MEMORY"):
        check(*CORRECT)


def test_a_candidate_that_expired_is_not_published(check: Check) -> None:
    with pytest.raises(OhlcvError, match="has no snapshot 1, so nothing was published: run again"):
        check.candidate(1)


def test_a_catalog_that_fails_is_named(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("server closed the connection unexpectedly"))

    candidate = stage(check.settings, MINUTE, CORRECT)
    monkeypatch.setattr(candidate_audit, "load_table_at", fail)
    with pytest.raises(OhlcvError, match=r"the catalog .*server closed the connection unexpectedly"):
        check.candidate(candidate)


def test_missing_libraries_are_named(loaded: tuple[Settings, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ohlcv.quality.candidate_audit", None)
    audit = Audit(loaded[0], [MINUTE], SCOPE.ranges, loaded[1], metadata_of(loaded[0]), "512m")
    with closing(audit), pytest.raises(OhlcvError, match="install the requirements of the project where jobs start"):
        audit.warnings()


def test_an_audit_can_be_closed_at_any_time(loaded: tuple[Settings, int]) -> None:
    Audit(loaded[0], [MINUTE], SCOPE.ranges, loaded[1], metadata_of(loaded[0]), "512m").close()
