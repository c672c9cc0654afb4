"""Messages for failures between us and a proxy. Each names the setting to correct."""

from http import HTTPStatus

from urllib3 import exceptions as transport

from kproxy.client.transport.proxies import Proxy

_UNWELCOME = (
    "authentication failure",
    "No acceptable authentication methods",
    "Unexpected SOCKS authentication method",
)


class TunnelRefused(OSError):
    """A proxy answers CONNECT with another status than 200."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"it answers {status} {reason}".rstrip())
        self.status = status


def wrong_login(proxy: Proxy) -> str:
    """The sentence for a proxy that refuses our user and password, or needs them and its setting names none."""
    if proxy.user is None:
        return (
            f"the proxy {proxy.url} wants a user and a password; write them into {proxy.named_by} "
            f"as {proxy.scheme}://user:password@host:port"
        )
    return f"the proxy {proxy.url} does not accept our user and password; correct them in {proxy.named_by}"


def proxy_failure(proxy: Proxy, error: Exception, server: str, cause: str) -> str:
    """The sentence for a request that a proxy did not let through.

    `cause` is the message of the system or the proxy.
    """
    shown = f"the proxy {proxy.url}"
    match error:
        case transport.NameResolutionError():
            text = f"the name of {shown} cannot be resolved; check DNS and {proxy.named_by}"
        case transport.NewConnectionError():
            text = f"{shown} cannot be reached ({cause}); check that a proxy runs there, or correct {proxy.named_by}"
        case transport.ConnectTimeoutError():
            text = f"{shown} does not take connections; check the firewall and {proxy.named_by}"
        case transport.SSLError():
            text = f"{shown}: {_tls_advice(str(error), proxy)} ({cause})"
        case TimeoutError() | transport.TimeoutError():
            text = f"{shown} does not answer; check that a proxy of this scheme runs there, or correct {proxy.named_by}"
        case _ if _is_about_login(error, cause):
            text = wrong_login(proxy)
        case _:
            text = (
                f"{shown} does not lead to {server} ({cause}); let it, "
                f"or correct {proxy.named_by}{_exception_advice(proxy)}"
            )
    return text


def _is_about_login(error: Exception, cause: str) -> bool:
    is_unauthorized = (
        isinstance(error, TunnelRefused) and error.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED
    )
    return is_unauthorized or any(text in cause for text in _UNWELCOME)


def _tls_advice(detail: str, proxy: Proxy) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in detail:
        return (
            "we do not trust its certificate, which the authority of the cluster must have signed; "
            f"correct one of them, or {proxy.named_by}"
        )
    return f"TLS fails; write http:// in {proxy.named_by} if the proxy works without TLS"


def _exception_advice(proxy: Proxy) -> str:
    return "" if proxy.named_by.startswith("proxy-url") else ", or except the server by NO_PROXY"
