"""The proofs of `make prove-rules` still fit the code: each breaks a line that is there."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[3]


def broken_rules() -> ModuleType:
    spec = importlib.util.spec_from_file_location("broken_rules", ROOT / "tools" / "prove_rules.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses look their module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_mutation_finds_its_text_once() -> None:
    lost = [
        (each.mutation, found)
        for each in broken_rules().MUTATIONS
        if (found := (ROOT / each.file).read_text().count(each.old)) != 1
    ]
    assert lost == []


def test_every_chosen_test_is_there() -> None:
    for each in broken_rules().MUTATIONS:
        for test in each.tests:
            file, _, name = test.partition("::")
            assert f"def {name}(" in (ROOT / file).read_text() if name else (ROOT / file).exists(), test
