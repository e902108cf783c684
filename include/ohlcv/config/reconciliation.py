"""Settings of the reconciliation with published candles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ohlcv.model.tolerances import Tolerances, parse_tolerances

FOLDER = "OHLCV_RECONCILE_FOLDER"
TOLERANCES = "OHLCV_RECONCILE_TOLERANCES"
RECONCILIATION_NAMES = (FOLDER, TOLERANCES)


@dataclass(frozen=True)
class ReconciliationSettings:
    """The folder of published candles and the permitted differences."""

    # None: no scheduled reconciliation.
    folder: Path | None = None
    tolerances: Tolerances = field(default_factory=Tolerances)


def reconciliation_settings(values: Mapping[str, str]) -> ReconciliationSettings:
    """Return the settings of the reconciliation. Raise InputError for an invalid value."""
    folder, texts = values.get(FOLDER), values.get(TOLERANCES)
    return ReconciliationSettings(
        Path(folder).absolute() if folder else None, parse_tolerances(TOLERANCES, texts.split(",") if texts else ())
    )
