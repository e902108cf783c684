"""Settings from the environment, and the catalog properties derived from them."""
