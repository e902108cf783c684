"""Reconciliation: our candles compared with those that an exchange published."""
