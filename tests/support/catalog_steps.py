"""The steps of `ohlcv doctor --catalog` in their order."""

STEPS = [
    "reach",
    "authenticate",
    "list",
    "read trades",
    "create",
    "commit",
    "roll back",
    "history",
    "gc.enabled",
    "drop",
]
