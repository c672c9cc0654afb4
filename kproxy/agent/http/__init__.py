"""HTTP servers that no client can stop."""
