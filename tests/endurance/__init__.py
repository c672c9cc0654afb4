"""A cluster of some size in constant change, its API server in trouble, and what all that leaves of an agent."""
