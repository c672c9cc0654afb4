"""Kubernetes objects in protobuf: the wire format, the messages as data, and their reading into `kproxy.state.wire`."""
