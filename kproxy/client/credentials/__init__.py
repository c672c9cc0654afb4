"""Tokens, client certificates, plugins and headers that say who we are, as client-go sends them."""
