"""The difference between observed and desired rules, as the exact text that changes the kernel."""
