"""Parameters of tests of the Spark jobs: a few for `make test`, all others in the lane `make test-spark-cases`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest


def spark_cases(parameters: Mapping[str, Any], *quick: str) -> list[Any]:
    """Return the parameters by id; a tuple has several. Only those named in `quick` run in `make test`."""
    unknown = set(quick) - parameters.keys()
    assert not unknown, unknown
    found = []
    for name, value in parameters.items():
        values = value if isinstance(value, tuple) else (value,)
        found.append(pytest.param(*values, id=name, marks=() if name in quick else pytest.mark.spark_cases))
    return found
