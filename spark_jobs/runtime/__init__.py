"""Session, JVM bridge, watchdog and error handling of a job."""
