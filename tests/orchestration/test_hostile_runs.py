"""Hostile parameters of runs: no traceback, one line for an error, and never another range than the given one.

`make test-hostile` runs more (CASES, SEED), or repeats one (SEED, CASE).
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hostile.expected_runs import REFUSED, expected_run
from hostile.run_pipeline import Outcome, Pipeline
from hostile.run_requests import RunRequest, iso, run_request
from ohlcv.config.settings import load_settings
from ohlcv.iceberg.tables import create_tables

ROOT = Path(__file__).parents[2]
NOW = int(datetime(2026, 3, 1, 12, 5, 7, tzinfo=UTC).timestamp())
GATE_SEED, GATE_CASES = 1, 100
DEFAULT_CASES = 2000
MAX_REPORTS = 30


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setenv("OHLCV_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OHLCV_RECONCILE_FOLDER", str(tmp_path))
    create_tables(load_settings())
    return Pipeline(str(ROOT / "dags"))


def generate(seed: int, number: int) -> RunRequest:
    return run_request(random.Random(f"{seed}/run/{number}"), NOW)


def problems_of(request: RunRequest, outcome: Outcome) -> list[str]:
    """Return what is wrong with an outcome."""
    if outcome.result is None or outcome.problems:
        return outcome.problems
    if outcome.stage == "trigger":
        expected = REFUSED if request.outcome != "accepted" else "a run"
    else:
        expected = expected_run(request, outcome.interval_end, outcome.run_after, datetime.now(UTC).date().isoformat())
    may_refuse = request.outcome == "either" or bool(request.fields)
    if outcome.result == expected or (outcome.result == REFUSED and may_refuse):
        return []
    return [f"{outcome.stage}: expected {expected}, got {outcome.result} {outcome.message}"[:1500]]


def run_cases(pipeline: Pipeline, seed: int, numbers: Iterable[int]) -> tuple[Counter[str], list[str]]:
    """Run cases. Return the number of outcomes by DAG, and the failures."""
    counts: Counter[str] = Counter()
    failures = []
    for number in numbers:
        request = generate(seed, number)
        outcome = pipeline.run(request, iso(NOW))
        counts[f"{request.dag_id} {outcome.stage if outcome.result in (REFUSED, None) else 'runs'}"] += 1
        if found := problems_of(request, outcome):
            body = json.dumps(request.body)[:600]
            failures.append(f"make test-hostile SEED={seed} CASE={number}\n  {request.dag_id} {body}\n  {found}")
    return counts, failures


def test_the_first_hostile_runs_of_a_seed(pipeline: Pipeline) -> None:
    counts, failures = run_cases(pipeline, GATE_SEED, range(1, GATE_CASES + 1))
    assert not failures, "\n".join(failures[:MAX_REPORTS])
    assert sum(counts.values()) == GATE_CASES


@pytest.mark.hostile
@pytest.mark.timeout(0)
def test_many_hostile_runs(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    seed, case = int(os.environ.get("SEED") or 1), os.environ.get("CASE")
    numbers = [int(case)] if case else range(1, int(os.environ.get("CASES") or DEFAULT_CASES) + 1)
    counts, failures = run_cases(pipeline, seed, numbers)
    with capsys.disabled():
        print("\n" + "\n".join(f"{count:6,} {name}" for name, count in sorted(counts.items())))
    assert not failures, "\n".join([f"{len(failures)} cases failed", *failures[:MAX_REPORTS]])
