"""The node without its packet filters: addresses, sysctls, memory, privileges."""
