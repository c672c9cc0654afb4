"""The reason why a port is not free, in words that say what to do."""

import errno

from kproxy.kernel.node.port_holders import holder_of


def taken(port: int, refused: OSError, *, looks: bool = True) -> str:
    """The system's reason; if another program has the port, with the name of that program if it can be found.

    With `looks`, kproxy looks for the program, which takes up to 0.2 s.
    """
    reason = refused.strerror or str(refused)
    if refused.errno != errno.EADDRINUSE:
        return reason
    holder = holder_of(port) if looks else ""
    if not holder:
        return f"{reason}, perhaps by another kube-proxy or kproxy on this node: only one of them can run"
    return (
        f"{reason} by {holder}; if that is another kube-proxy or kproxy, end it: only one can run on a node"
    )
