"""The ledger: publications of the candle tables, and the values that they replaced."""
