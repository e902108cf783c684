"""Keep one candle table as long as promised, and small."""

from spark_jobs.jobs.table_maintenance import main

if __name__ == "__main__":
    raise SystemExit(main())
