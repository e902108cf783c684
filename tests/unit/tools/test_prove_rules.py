"""Mutations of `make prove-rules`: each one matches the current code and names existing tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[3]


def rule_mutations() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rule_mutations", ROOT / "tools" / "rule_mutations.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look up their module in sys.modules.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_text_of_every_mutation_occurs_once() -> None:
    not_unique = [
        (each.mutation, found)
        for each in rule_mutations().MUTATIONS
        if (found := (ROOT / each.file).read_text().count(each.old)) != 1
    ]
    assert not_unique == []


def test_every_chosen_test_exists() -> None:
    for each in rule_mutations().MUTATIONS:
        for test in each.tests:
            file, _, name = test.partition("::")
            assert f"def {name}(" in (ROOT / file).read_text() if name else (ROOT / file).exists(), test
