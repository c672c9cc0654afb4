"""Our credentials as client-go sends them: tokens, client certificates, plugins and headers."""
