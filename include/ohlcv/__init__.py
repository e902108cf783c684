"""Exact, complete, audited OHLCV candles from crypto trades."""
