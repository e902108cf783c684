"""Build the candles of a long timeframe (30m, 1h, 1d): whole blocks at a time."""

from spark_jobs.jobs.build_candles import main

if __name__ == "__main__":
    raise SystemExit(main("overwrite"))
