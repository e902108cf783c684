"""Engines of a job: the modes that a setting can request, and the settings with which a job cannot run natively."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from ohlcv.config.values import megabytes
from ohlcv.model.errors import InputError

if TYPE_CHECKING:
    from ohlcv.config.settings import Settings, Tuning

# What aggregates the trades: Spark's own operators, or those of DataFusion Comet, a native library.
Engine = Literal["jvm", "native"]
ENGINES: tuple[Engine, ...] = ("jvm", "native")
# Property that enables the native operators for the queries that are planned after it is set.
NATIVE_PROPERTY = "spark.comet.enabled"
# Operators of a plan that is scanned and aggregated natively.
NATIVE_OPERATORS = ("CometIcebergNativeScan", "CometHashAggregate")
# `shadow` aggregates on both engines, compares the results and publishes those of the JVM.
Mode = Literal["jvm", "native", "shadow"]
# An executor needs a heap of 512m (ohlcv.spark.spark_submit) and as much for the native operators and its JVM.
MIN_NATIVE_MEMORY = "1024m"
# Properties that the S3 client of the native operators does not know, or that no test covers.
_UNSUPPORTED_PROPERTIES = (
    *("s3.remote-signing-enabled", "s3.sse.", "s3.access-points.", "s3.acceleration-enabled", "s3.dualstack-enabled"),
    *("s3.client-factory-impl", "client.factory", "client.assume-role.", "client.credentials-provider"),
)


def execution_mode(name: str, text: str) -> Mode:
    """Return the mode that a setting requests."""
    if text not in get_args(Mode):
        raise InputError(f"{name} is '{text[:50]}': use jvm, native or shadow")
    return text  # type: ignore[return-value]  # checked above


def is_native_permitted(text: str | None) -> bool:
    """Return the value of OHLCV_NATIVE."""
    if text not in (None, "", "yes", "no"):
        raise InputError(f"OHLCV_NATIVE is '{text[:50]}': use yes or no")
    return text != "no"


def find_jvm_reason(settings: Settings, tuning: Tuning) -> str | None:
    """Return why a job with these settings runs on the JVM although native execution is requested, or None."""
    store = settings.store
    unsupported = next(filter(None, map(_unsupported, settings.catalog.description.properties.items())), None)
    reasons = {
        "OHLCV_NATIVE is no": not settings.native,
        f"it needs an executor memory of {MIN_NATIVE_MEMORY}, not {tuning.executor_memory}": (
            megabytes(tuning.executor_memory) < megabytes(MIN_NATIVE_MEMORY)
        ),
        # Casts from floating point and text can differ between the engines.
        "the trades table has a mapping": not settings.trades_mapping.is_default,
        "the catalog vends the keys of the store": settings.catalog.vends_keys,
        "the tables are neither in a folder nor in an S3 store of the settings": (
            store is None and not settings.warehouse.startswith("file:")
        ),
        f"the property {unsupported} is not supported": unsupported is not None,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _unsupported(entry: tuple[str, str]) -> str | None:
    name, value = entry
    return name if name.startswith(_UNSUPPORTED_PROPERTIES) and value.lower() not in ("false", "none") else None
