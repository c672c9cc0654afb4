"""The cost of a change, against the least that it could cost and against the usual way: `scripts/bench`."""
