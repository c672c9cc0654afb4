"""The pages of the agent's health server and of its metrics server."""
