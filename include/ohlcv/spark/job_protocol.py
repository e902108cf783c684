"""Constants shared by the Spark jobs and the code that submits them."""

from __future__ import annotations

# Prefix of the log line in which a job reports the id of its Spark application.
APPLICATION_ID_PREFIX = "spark application: "
# Prefix of the log line in which a job reports its error.
ERROR_PREFIX = "error: "
# Runs that read fewer trades evaluate expressions without code generation. Driver and executor need two seconds to
# compile generated code, and it saves about ten microseconds per trade.
CODE_GENERATION_MIN_TRADES = 150_000
