"""Delete expired partitions of one candle table, compact its files and expire its snapshots."""

from spark_jobs.jobs.table_maintenance import main

if __name__ == "__main__":
    raise SystemExit(main())
