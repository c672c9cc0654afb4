"""A packet's way through any node's nftables rules."""
