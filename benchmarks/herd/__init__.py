"""Thousands of list/watch loops against a model of an API server, in simulated time."""
