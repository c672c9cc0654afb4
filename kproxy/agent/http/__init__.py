"""HTTP servers that stay up whatever their clients do."""
