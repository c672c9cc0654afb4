"""The kernel's packet filters and conntrack, read and changed by netlink."""
