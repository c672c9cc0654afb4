"""The cases of the benchmark, one in each module."""
