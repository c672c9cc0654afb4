"""Where state comes from: a cluster, or manifests in files."""
