"""Rebuild one UTC day in several timeframes from one read of its trades, or list the differences (dry run)."""

from spark_jobs.jobs.reprocess_day import main

if __name__ == "__main__":
    raise SystemExit(main())
