"""What a change costs, against the least it could cost and against the usual way: `scripts/bench`."""
