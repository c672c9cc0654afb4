"""The way to an API server: its address, TLS, proxy and credentials as client-go finds them, and requests over it.

    --kubeconfig, --master ──► kubeconfig.targets ──► Target ──► connection.Connection ──► Answer ──► kproxy.sources
    a pod's account ────────►                     (target.py)     asks transport.route at each request

- `kubeconfig`: which server, and as whom, as a Target.
- `credentials`: what requests say of who we are. A token goes out by `transport/route.py` alone, and only to https.
- `transport`: the connections, with TLS and proxies.
- `connection`: the requests themselves, of which each has an `answer`.

InputError is for a configuration that cannot be used, EnvironmentLacking for a machine that lacks something, ApiFailed
for a failure of a server or a proxy. Nothing here knows Services.
"""
