"""The client of a Kubernetes API server: it finds the server and our credentials as client-go does, and sends requests.

    --kubeconfig, --master ──► kubeconfig.targets ──► Target ──► connection.Connection ──► Answer ──► kproxy.sources
    a pod's account ────────►                     (target.py)     uses transport.route for each request

- `kubeconfig`: turns the configuration into a Target: the server, and the credentials for it.
- `credentials`: the tokens, certificates and headers of our requests. Only `transport/route.py` sends them, and only
  over https.
- `transport`: the connections, with TLS and proxies.
- `connection`: the requests. Each request has an `answer`.

This package raises InputError for a configuration that cannot be used, EnvironmentLacking for a machine that lacks
something, and ApiFailed for a failure of a server or a proxy. It does not know Services.
"""
