"""From kubeconfig files, `--master` or a pod's service account to a Target, by client-go's rules."""
