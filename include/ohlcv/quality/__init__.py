"""Validation of stored candles by rules and by recomputation."""
