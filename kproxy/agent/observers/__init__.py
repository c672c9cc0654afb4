"""Told, in the agent's thread, of each event and sync: health, quarantine, node ports for health checks, UDP flows."""
