"""A packet's way through any node's iptables rules."""
