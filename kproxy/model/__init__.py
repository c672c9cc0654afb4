"""Decisions: what kube-proxy 1.36 would do with the facts, as pure functions."""
