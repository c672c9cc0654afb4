"""The node apart from its packet filters: addresses, sysctls, memory, privileges."""
