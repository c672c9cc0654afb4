"""A stub Kubernetes API server: list and watch over TLS, as the recordings in `recorded/` show it."""

from stubapi.server import StubApi

__all__ = ["StubApi"]
