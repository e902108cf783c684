"""Create the views over all timeframes."""

from spark_jobs.jobs.views import main

if __name__ == "__main__":
    raise SystemExit(main())
