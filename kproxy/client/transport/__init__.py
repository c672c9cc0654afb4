"""Connections to a server: TLS, proxies and pools, by the rules of Go's crypto/tls and net/http."""
