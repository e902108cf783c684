"""Parameters that several DAGs have."""

from __future__ import annotations

from airflow.sdk import Param

from ohlcv.config.settings import Settings


def timeframes_parameter(settings: Settings, description: str) -> Param:
    """Return the parameter that chooses enabled timeframes, by default all of them."""
    names = list(settings.timeframes)
    return Param(
        names,
        type="array",
        items={"type": "string", "enum": names},
        examples=names,
        minItems=1,
        uniqueItems=True,
        description=description,
    )
