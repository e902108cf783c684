"""The rules of the validation: their stored names and severities, and their documentation."""

from __future__ import annotations

import re
from pathlib import Path

from ohlcv.quality.rules import RULES

DATA_CONTRACT = Path(__file__).parents[3] / "docs" / "data-contract.md"


def test_stored_rule_names_and_severities_never_change() -> None:
    # Reports, logs and asset events contain these names.
    assert [(rule.name, rule.severity) for rule in RULES.values()] == [
        ("high_is_highest", "FAIL"),
        ("low_is_lowest", "FAIL"),
        ("vwap_in_range", "FAIL"),
        ("volume_is_positive", "FAIL"),
        ("trades_are_counted", "FAIL"),
        ("window_is_one_timeframe", "FAIL"),
        ("window_is_aligned", "FAIL"),
        ("window_date_is_its_day", "FAIL"),
        ("key_is_unique", "FAIL"),
        ("fields_equal_the_trades", "FAIL"),
        ("none_is_missing", "FAIL"),
        ("none_is_withheld", "FAIL"),
        ("none_is_extra", "FAIL"),
        ("agrees_with_the_smaller", "FAIL"),
        ("measures_are_complete", "FAIL"),
        ("measures_equal_the_trades", "FAIL"),
        ("measures_agree_with_the_smaller", "FAIL"),
        ("few_trades_are_rejected", "WARN"),
        ("sequences_have_no_gaps", "WARN"),
        ("candles_are_fresh", "WARN"),
    ]
    assert all(name == rule.name for name, rule in RULES.items())


def test_the_data_contract_documents_every_rule() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (FAIL|WARN) \| (.+) \|$", DATA_CONTRACT.read_text(), re.MULTILINE)
    assert rows == [(rule.name, rule.severity, rule.invariant) for rule in RULES.values()]
