"""The cost of agents for an API server and its network: sizes measured here, the rest computed from them."""
