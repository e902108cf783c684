"""Rebuild one UTC day in several timeframes from one read of its trades, or show what that would change."""

from spark_jobs.jobs.reprocess_day import main

if __name__ == "__main__":
    raise SystemExit(main())
