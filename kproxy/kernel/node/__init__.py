"""This node beside its packet filters: addresses, sysctls, memory, privileges."""
