"""Hostile inputs, settings, arguments and surroundings of the command line.

A generated case runs commands and checks: no traceback, no hang, bounded memory, a documented exit code, one line for
an error, and loads that are complete or have no effect. `make test` runs the first cases of one seed;
`make test-hostile` runs more (CASES, SEED), or repeats one (SEED, CASE).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hostile.campaign import Summary, report_of, run_campaign

GATE_SEED, GATE_CASES = 1, 30
DEFAULT_CASES = 1000
MAX_REPORTS = 50


def test_the_first_cases_of_a_seed(tmp_path: Path) -> None:
    summary = run_campaign(tmp_path, GATE_SEED, range(1, GATE_CASES + 1))
    assert sum(summary.kinds.values()) == GATE_CASES
    assert_no_failure(summary)


@pytest.mark.hostile
@pytest.mark.timeout(0)
def test_many_cases(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = int(os.environ.get("SEED") or 1)
    case = os.environ.get("CASE")
    numbers = [int(case)] if case else range(1, int(os.environ.get("CASES") or DEFAULT_CASES) + 1)
    with capsys.disabled():
        summary = run_campaign(tmp_path, seed, numbers, servers=min(len(numbers), os.cpu_count() or 1), progress=True)
        print("\n" + "\n".join(summary.lines()))
    assert_no_failure(summary)


def assert_no_failure(summary: Summary) -> None:
    reports = [report_of(outcome) for outcome in summary.failures[:MAX_REPORTS]]
    assert not reports, "\n\n".join([f"{len(summary.failures)} cases failed", *reports])
