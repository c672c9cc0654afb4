"""A Kubernetes service proxy: Services and EndpointSlices in, iptables rules in the kernel out."""
