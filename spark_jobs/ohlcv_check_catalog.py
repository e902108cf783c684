"""Check the catalog through Iceberg's Java library."""

from spark_jobs.jobs.check_catalog import main

if __name__ == "__main__":
    raise SystemExit(main())
