"""The parts that hear of each event and sync: health, quarantine, health-check node ports, UDP flows and others."""
