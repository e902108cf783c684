"""The rules: each stated once, in the contract's words."""

from __future__ import annotations

import re
from pathlib import Path

from ohlcv.quality.rules import RULES

CONTRACT = Path(__file__).parents[3] / "docs" / "data-contract.md"


def test_the_contract_lists_every_rule_as_the_code_has_it() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (FAIL|WARN) \| (.+) \|$", CONTRACT.read_text(), re.MULTILINE)
    assert rows == [(rule.name, rule.severity, rule.invariant) for rule in RULES.values()]
