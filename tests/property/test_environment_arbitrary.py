"""Whatever stands in the environment or in proxy-url: a proxy, none, or one printable sentence without a secret."""

import logging
from urllib.parse import quote

from hypothesis import example, given
from hypothesis import strategies as st

from kproxy.client.transport.proxies import Proxy, proxy_for
from kproxy.client.transport.proxy_failures import proxy_failure, wrong_login
from kproxy.errors import InputError

SECRET = "hunter2"
ODD = st.text(max_size=4) | st.sampled_from(
    [
        "",
        "%",
        "%41",
        "%zz",
        ":",
        "@",
        "/",
        "[",
        "]",
        "\\",
        "\x1b[31m",
        "\n",
        "\u2028",
        "é",
        " ",
        "#",
        "?",
        "*",
    ]
)
SCHEMES = st.sampled_from(["", "//", "http://", "https://", "socks5://", "HTTP://", "http:", "ftp://"]) | ODD
HOSTS = (
    st.sampled_from(["proxy", "127.0.0.1", "[fd00::1]", "[fe80::1%25eth0]", "пример.рф", "10.0.0.1"]) | ODD
)
PORTS = st.sampled_from(["", ":", ":3128", ":0", ":65536", ":x", ":٣"]) | ODD
URLS = st.builds(
    lambda scheme, user, between, after, host, port, tail: (
        f"{scheme}{user}{between}{SECRET}{after}@{host}{port}{tail}"
    ),
    SCHEMES,
    st.sampled_from(["alice", ""]) | ODD,
    st.sampled_from([":", ""]) | ODD,
    st.just("") | ODD,
    HOSTS,
    PORTS,
    st.just("") | ODD,
)
ENTRIES = st.lists(
    st.builds(lambda dot, host, port: f"{dot}{host}{port}", st.sampled_from(["", ".", "*."]), HOSTS, PORTS)
    | st.sampled_from(["*", "10.0.0.0/8", "fd00::/8", "::ffff:10.0.0.0/104", "10.0.0.0/99", "/", "é.рф", "."])
    | ODD,
    max_size=4,
).map(",".join)
SERVERS = st.sampled_from(
    [
        "https://api.example.com:6443",
        "https://10.0.0.1",
        "https://[fd00::1]:6443/path",
        "http://пример.рф",
        "http://localhost",
        "https://[fe80::1%25eth0]",
    ]
)


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def chosen(server: str, proxy_url: str, environment: dict[str, str]) -> tuple[Proxy | None, list[str]]:
    """The proxy, and all that was said."""
    kept, logger = Kept(), logging.getLogger("kproxy.client.transport.proxies")
    logger.addHandler(kept)
    try:
        found = proxy_for(server, proxy_url, "the kubeconfig", environment)
    except InputError as refused:
        return None, [*kept.lines, str(refused)]
    finally:
        logger.removeHandler(kept)
    said = [] if found is None else [repr(found), found.url, wrong_login(found)]
    if found is not None:
        said.append(proxy_failure(found, OSError("no"), server, "no"))
    return found, [*kept.lines, *said]


@given(SERVERS, URLS, ENTRIES, st.booleans())
@example("https://api.example.com", f"http://alice:{SECRET}@proxy:3128", "", True)
@example("https://api.example.com", f"http://alice:{SECRET}%zz@proxy:3128", "", False)
def test_any_setting_names_a_proxy_or_is_refused_without_its_secret(
    server: str, url: str, excepted: str, is_configured: bool
) -> None:
    environment = {"HTTPS_PROXY": url, "http_proxy": url, "NO_PROXY": excepted, "ALL_PROXY": url}
    found, said = chosen(server, url if is_configured else "", environment)
    assert [] == [line for line in said if SECRET in line]
    assert [] == [line for line in said if not line.isprintable()]
    if found is not None:
        assert 0 < found.port < 65536
        assert found.host.isascii()


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), st.text(max_size=8))
def test_any_user_and_password_come_back_as_they_were(user: str, password: str) -> None:
    found, _ = chosen(
        "https://api.example.com", f"http://{quote(user, safe='')}:{quote(password, safe='')}@proxy:1", {}
    )
    assert found is not None
    assert (user, password) == (found.user, found.password)
