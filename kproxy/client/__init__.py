"""The way to an API server: its address, TLS, proxy and credentials as client-go finds them, and requests over it.

- `kubeconfig`: which server, and as whom, as a Target.
- `credentials`: what requests say of who we are.
- `transport`: the connections, with TLS and proxies.
- `connection`: the requests themselves; `accept`, `compression`, `rate` and `failures` belong to them.
"""
