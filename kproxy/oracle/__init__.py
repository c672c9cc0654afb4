"""The documentation of Services as code: what becomes of a packet, decided apart from `model`."""
