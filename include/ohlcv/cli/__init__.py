"""The commands of `ohlcv`, one module each."""
