"""Decisions about Services, endpoints and this node, as kube-proxy 1.36 takes them, in pure functions."""
