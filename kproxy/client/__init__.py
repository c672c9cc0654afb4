"""The way to an API server: its address, TLS, proxy and credentials as client-go finds them, and requests over it.

    --kubeconfig, --master ──► targets ─► Target ──► connection.Connection ──► Answer (bytes) ──► kproxy.sources
      kubeconfig, kubeconfig_fields,      (target)     asks `way` at each request
      validation, authorities                           ├ proxies, pools: through which proxy
    a pod's account ─► service_account                  ├ tls: who the server is, our client certificate
                                                        └ credentials: who we are

- A token goes out in `Way.proof` (way.py) alone, by `Connection._request`, and only to https. It comes from
  `Credentials.headers`: of tokens.py, or of exec_plugin.py for a plugin (exec_config, exec_answer); identity.py joins
  several, kept.py keeps what outlives a connection.
- A configuration that cannot be used is an InputError, what this machine lacks an EnvironmentLacking, what a server or
  a proxy does an ApiFailed. Their sentences are made in failures.py, proxy_failures.py and tls_failures.py; masked.py
  takes secrets out of the words of others.
- Nothing here knows Services: what is asked for, and what follows from answers, is the business of kproxy.sources.
"""
