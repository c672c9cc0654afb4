"""The fate of a packet, read from the text of rules: kproxy's own rules, kube-proxy's, or any others."""
