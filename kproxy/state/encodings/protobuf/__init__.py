"""Kubernetes objects in protobuf: the wire format, the messages as tables, and readers into `kproxy.state.wire`."""
