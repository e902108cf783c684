"""A mutation of prove_rules.py."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """One way to break a rule, and the tests that must detect it."""

    rule: str
    mutation: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
