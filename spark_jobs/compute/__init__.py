"""DataFrame transformations from trades to candles."""
