"""Candle service: the HTTP API of the candles, and the built page."""
