"""The kernel's packet filters, asked and told by netlink."""
