"""Build the candles of a short timeframe (1m, 5m): every few minutes, a few windows."""

from pathlib import Path

from spark_jobs.jobs.build_candles import main

if __name__ == "__main__":
    raise SystemExit(main(Path(__file__).name))
