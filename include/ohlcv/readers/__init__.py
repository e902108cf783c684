"""Read access to candles and trades without a JVM."""
