"""Parameters that several DAGs have."""

from __future__ import annotations

from airflow.sdk import Param

from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES


def timeframes_parameter(description: str) -> Param:
    """Return the parameter that chooses timeframes, by default all."""
    names = list(DEFAULT_TIMEFRAMES)
    return Param(
        names,
        type="array",
        items={"type": "string", "enum": names},
        examples=names,
        minItems=1,
        uniqueItems=True,
        description=description,
    )
