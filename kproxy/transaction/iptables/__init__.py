"""A change of chains, as iptables-restore reads it."""
