"""Spark session, JVM bridge, parent watchdog and error handling of a job."""
