"""iptables and nft, started as programs."""
