"""A real agent, a real kernel, and everything that can happen to them, in any order: `World`."""
