"""The documentation of Services as code: the fate of a packet, decided apart from `model`."""
