"""The node agent, which keeps the kernel at the newest state."""
