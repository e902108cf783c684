"""Run SQL statements on the tables."""

from spark_jobs.jobs.sql import main

if __name__ == "__main__":
    raise SystemExit(main())
