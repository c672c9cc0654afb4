"""The only side effects on the node: programs, sysctls, netlink."""
