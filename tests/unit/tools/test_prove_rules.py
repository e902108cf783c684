"""Mutations of `make prove-rules`: each one matches the current code and names existing tests."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def mutations(monkeypatch: pytest.MonkeyPatch) -> Any:
    # The modules of a script import each other by their names.
    monkeypatch.syspath_prepend(ROOT / "tools")
    return importlib.import_module("rule_mutations").MUTATIONS


def test_the_text_of_every_mutation_occurs_once(mutations: Any) -> None:
    not_unique = [
        (each.mutation, found) for each in mutations if (found := (ROOT / each.file).read_text().count(each.old)) != 1
    ]
    assert not_unique == []


def test_every_chosen_test_exists(mutations: Any) -> None:
    for each in mutations:
        for test in each.tests:
            file, *names = test.split("::")
            assert (ROOT / file).exists(), test
            # A test, one of its parameters, or all tests of a class.
            name = names[-1].partition("[")[0] if names else ""
            assert not names or re.search(rf"(def|class) {name}\b", (ROOT / file).read_text()), test
