"""The sources of state: a cluster, or manifests in files."""
