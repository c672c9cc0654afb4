"""The node agent: what keeps the kernel at the newest state."""
