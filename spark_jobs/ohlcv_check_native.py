"""Check that the scan and the aggregation of trades run natively."""

from spark_jobs.jobs.check_native import main

if __name__ == "__main__":
    raise SystemExit(main())
