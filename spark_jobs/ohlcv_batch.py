"""Build the candles of a long timeframe (30m, 1h, 1d): at most twice an hour, whole hours or days."""

from pathlib import Path

from spark_jobs.jobs.build_candles import main

if __name__ == "__main__":
    raise SystemExit(main(Path(__file__).name))
