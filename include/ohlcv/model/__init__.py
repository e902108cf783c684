"""Pure domain: errors, timeframes, intervals, table contracts and build plans."""
