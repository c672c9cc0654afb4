"""Plans to chains of rules, for iptables and ip6tables."""
