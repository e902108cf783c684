"""One-time preparation of the Spark installation."""
