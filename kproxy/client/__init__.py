"""The way to an API server: its address, TLS, proxy and credentials as client-go finds them, and requests over it."""
