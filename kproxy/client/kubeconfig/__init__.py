"""Turns kubeconfig files, `--master` or a pod's service account into a Target, by client-go's rules."""
