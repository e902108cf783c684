"""Constants shared by the Spark jobs and the code that submits them.

The command-line flags are built in ohlcv.spark.spark_submit and parsed in spark_jobs.jobs.
"""

from __future__ import annotations

# Prefix of the stderr line in which a job reports the id of its Spark application.
APPLICATION_ID_PREFIX = "spark application: "
# Prefix of the stderr line in which a job reports its error.
ERROR_PREFIX = "error: "
# Runs that read fewer trades evaluate expressions without code generation. Driver and executor need two seconds to
# compile generated code, which saves about ten microseconds per trade.
CODE_GENERATION_MIN_TRADES = 150_000
