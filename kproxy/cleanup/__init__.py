"""Removes the rules of kproxy and kube-proxy from a node, and nothing of others."""
