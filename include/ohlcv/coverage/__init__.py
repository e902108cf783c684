"""Coverage: what the trades table contains for each series and hour."""
