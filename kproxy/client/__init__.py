"""The way to an API server: its address, TLS, proxy and credentials as client-go finds them, and requests over it.

    kubeconfig    which server, and as whom: a Target
    credentials   what the requests say of who we are
    transport     the connections: TLS and proxies
    connection    the requests themselves; `accept`, `compression`, `rate` and `failures` belong to them
"""
