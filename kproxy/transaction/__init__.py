"""Observed against desired: the exact text that takes the kernel from the one to the other."""
