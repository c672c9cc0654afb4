"""The user's configuration: KubeProxyConfiguration as kube-proxy 1.36 reads it, from a file or from flags."""

from kproxy.configuration.decode import decode_configuration
from kproxy.configuration.schema import Configuration, Mode

__all__ = ["Configuration", "Mode", "decode_configuration"]
