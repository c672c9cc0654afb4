"""Kernels in memory, for tests that need no root: the same calls and answers as the real ones, and faults on demand."""
