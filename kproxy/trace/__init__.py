"""What rules do to a packet, read off their text: kproxy's own rules, kube-proxy's, anybody's."""
