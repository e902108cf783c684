"""Actions of tests between the audit of a candidate and its publication, and the branches of candidates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pyiceberg.table import Table

from ohlcv.model.audit_records import CANDIDATE_BRANCH
from ohlcv.quality.audit import Audit


def before_publication(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Run an action once, after the first candidate was audited."""
    check = Audit.check_candidate
    remaining = [action]

    def checked(*arguments: Any) -> Any:
        result = check(*arguments)
        if remaining:
            remaining.pop()()
        return result

    monkeypatch.setattr(Audit, "check_candidate", checked)


def candidate_branches(table: Table) -> list[str]:
    """Return the names of the branches of candidates."""
    return [name for name in table.metadata.refs if name.startswith(CANDIDATE_BRANCH)]
