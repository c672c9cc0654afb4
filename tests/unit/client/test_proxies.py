"""The proxy for a server: the documented cases of golang.org/x/net/http/httpproxy, and cases near them."""

import logging

import pytest

from kproxy.client.transport.proxies import _warn_once, proxy_for
from kproxy.errors import InputError

HTTPS, HTTP = "https://api.example.com:6443", "http://example.com"
SECRET = "hunter2"


def chosen(server: str, proxy_url: str = "", **environment: str) -> str:
    """The proxy's URL without user; empty for no proxy."""
    found = proxy_for(server, proxy_url, "the kubeconfig x", environment)
    return found.url if found else ""


@pytest.mark.parametrize(
    ("value", "proxy"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("cache.corp.example.com:1234", "http://cache.corp.example.com:1234"),
        ("cache.corp.example.com", "http://cache.corp.example.com:80"),
        ("localhost", "http://localhost:80"),
        ("localhost:3128", "http://localhost:3128"),
        ("proxy:3128", "http://proxy:3128"),
        ("[fd00::1]:3128", "http://[fd00::1]:3128"),
        ("https://cache.corp.example.com", "https://cache.corp.example.com:443"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080/path?a=b#c", "http://127.0.0.1:8080"),
        ("https://127.0.0.1:8080", "https://127.0.0.1:8080"),
        ("HTTP://proxy:1", "http://proxy:1"),
        ("http://proxy:", "http://proxy:80"),
        ("socks5://127.0.0.1", "socks5://127.0.0.1:1080"),
        ("socks5h://proxy:9050", "socks5h://proxy:9050"),
        ("http://[fe80::1%25eth0]:3128", "http://[fe80::1%eth0]:3128"),
        ("alice:hunter2@proxy:3128", "http://proxy:3128"),
        ("alice@proxy", "http://proxy:80"),
        ("http://примен.рф:80", "http://xn--e1afmfgg.xn--p1ai:80"),
        ("", ""),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_variable_is_read_as_a_url_or_as_host_and_port(value: str, proxy: str, scheme: str) -> None:
    assert proxy == chosen(f"{scheme}://api.example.com", **{f"{scheme.upper()}_PROXY": value})


@pytest.mark.parametrize(
    ("server", "environment", "proxy"),
    [
        (HTTP, {"HTTP_PROXY": "plain.tld", "HTTPS_PROXY": "secure.tld"}, "http://plain.tld:80"),
        (HTTPS, {"HTTP_PROXY": "plain.tld", "HTTPS_PROXY": "secure.tld"}, "http://secure.tld:80"),
        (HTTPS, {"HTTP_PROXY": "plain.tld", "HTTPS_PROXY": "https://secure.tld"}, "https://secure.tld:443"),
        (HTTPS, {"HTTP_PROXY": "plain.tld"}, ""),
        (HTTP, {"HTTPS_PROXY": "secure.tld"}, ""),
        (HTTPS, {"https_proxy": "lower.tld"}, "http://lower.tld:80"),
        (HTTP, {"http_proxy": "lower.tld"}, "http://lower.tld:80"),
        (HTTPS, {"HTTPS_PROXY": "upper.tld", "https_proxy": "lower.tld"}, "http://upper.tld:80"),
        (HTTPS, {"HTTPS_PROXY": "", "https_proxy": "lower.tld"}, "http://lower.tld:80"),
        (HTTPS, {"NO_PROXY": "", "no_proxy": "example.com", "HTTPS_PROXY": "p"}, ""),
        (HTTPS, {"NO_PROXY": "other", "no_proxy": "example.com", "HTTPS_PROXY": "p"}, "http://p:80"),
        (HTTPS, {"ALL_PROXY": "http://all.tld", "all_proxy": "socks5://all.tld"}, ""),
        (HTTPS, {"Https_Proxy": "mixed.tld"}, ""),
        (HTTPS, {"HTTPS_PROXY": "https://secure.tld", "REQUEST_METHOD": "GET"}, "https://secure.tld:443"),
        (HTTP, {"HTTP_PROXY": "plain.tld", "REQUEST_METHOD": ""}, "http://plain.tld:80"),
        (HTTPS, {}, ""),
    ],
)
def test_variable_of_the_servers_scheme_is_used(server: str, environment: dict[str, str], proxy: str) -> None:
    assert proxy == chosen(server, **environment)


NO_PROXY = (
    "foobar.com, .barbaz.net, *.wildcard.io, 192.168.1.1, 192.168.1.2:81, 192.168.1.3:80, 10.0.0.0/30, "
    "2001:db8::52:0:1, [2001:db8::52:0:2]:443, [2001:db8::52:0:3]:80, 2002:db8:a::45/64"
)


@pytest.mark.parametrize(
    ("host", "is_proxied"),
    [
        ("localhost", False),
        ("127.0.0.1", False),
        ("127.0.0.2", False),
        ("127.255.255.254", False),
        ("[::1]", False),
        ("[::ffff:127.0.0.1]", False),
        ("[::2]", True),
        ("192.168.1.1", False),
        ("[::ffff:192.168.1.1]", False),
        ("192.168.1.2", True),
        ("192.168.1.3", False),
        ("192.168.1.4", True),
        ("10.0.0.2", False),
        ("10.0.0.4", True),
        ("[::ffff:10.0.0.2]", False),
        ("[2001:db8::52:0:1]", False),
        ("[2001:DB8:0::52:0:1]", False),
        ("[2001:db8::52:0:1%25eth0]", False),
        ("[2001:db8::52:0:2]", True),
        ("[2001:db8::52:0:3]", False),
        ("[2002:db8:a::123]", False),
        ("[fe80::424b:c8be:1643:a1b6]", True),
        ("barbaz.net", True),
        ("www.barbaz.net", False),
        ("foobar.com", False),
        ("FooBar.Com", False),
        ("www.foobar.com", False),
        ("foofoobar.com", True),
        ("foobar.com.", True),
        ("baz.com", True),
        ("localhost.net", True),
        ("local.localhost", True),
        ("localhost.", True),
        ("barbarbaz.net", True),
        ("wildcard.io", True),
        ("nested.wildcard.io", False),
        ("awildcard.io", True),
    ],
)
def test_no_proxy_excepts_as_documented(host: str, is_proxied: bool) -> None:
    assert is_proxied == bool(chosen(f"http://{host}:80", HTTP_PROXY="proxy", NO_PROXY=NO_PROXY))
    assert is_proxied == bool(chosen(f"http://{host}", HTTP_PROXY="proxy", NO_PROXY=NO_PROXY))
    assert not chosen(f"https://{host}", HTTPS_PROXY="proxy", NO_PROXY="*")
    assert not chosen(f"https://{host}:1", HTTPS_PROXY="proxy", no_proxy=f"{NO_PROXY}, *")


@pytest.mark.parametrize(
    ("entry", "server", "is_proxied"),
    [
        ("example.com", "https://example.com", False),
        (".example.com", "https://example.com", True),
        ("ample.com", "https://example.com", True),
        ("example.com", "https://foo.example.com", False),
        (".foo.com", "https://example.com", True),
        ("*.cluster.example", "https://api.cluster.example:6443", False),
        ("*.cluster.example", "https://cluster.example", True),
        ("*.cluster.example", "https://a.b.cluster.example", False),
        ("*cluster.example", "https://api.cluster.example", True),
        ("EXAMPLE.com", "https://example.com", False),
        ("example.com.", "https://example.com", True),
        ("example.com.", "https://example.com.", False),
        (" example.com ", "https://example.com", False),
        ("a,, ,example.com,", "https://example.com", False),
        ("a example.com", "https://example.com", True),
        ("example.com:6443", "https://example.com:6443", False),
        ("example.com:6443", "https://example.com", True),
        ("example.com:443", "https://example.com", False),
        ("*.example.com:6443", "https://a.example.com:6443", False),
        (".example.com:6443", "https://a.example.com:443", True),
        ("*:6443", "https://example.com:6443", True),
        (":6443", "https://example.com:6443", True),
        (":1", "https://example.com:80", True),
        ("https://example.com", "https://example.com", True),
        ("10.0.0.0/8", "https://10.96.0.1", False),
        ("10.1.2.3/8", "https://10.96.0.1:443", False),
        ("10.0.0.0/8:443", "https://10.96.0.1:443", True),
        ("10.0.0.0/33", "https://10.96.0.1", True),
        ("10.0.0.0/255.0.0.0", "https://10.96.0.1", True),
        ("0.0.0.0/0", "https://10.96.0.1", False),
        ("0.0.0.0/0", "https://example.com", True),
        ("0.0.0.0/0", "https://[fd00::1]", True),
        ("::/0", "https://10.96.0.1", True),
        ("::ffff:10.0.0.0/104", "https://10.96.0.1", False),
        ("fd00::/8", "https://[fd00::1]:6443", False),
        ("[fd00::]/8", "https://[fd00::1]:6443", True),
        ("fd00::1", "https://[fd00:0::1]", False),
        ("[fd00::1]:6443", "https://[fd00::1]:6443", False),
        ("[fd00::1]:6443", "https://[fd00::1]", True),
        ("[fd00::1]", "https://[fd00::1]:6443", True),
        ("fd00::1%eth0", "https://[fd00::1]", True),
        ("010.0.0.1", "https://10.0.0.1", True),
        (".0.0.1", "https://10.0.0.1", True),
        ("example.com", "https://[1000::%25.example.com]:123", True),
        (".示例.com", "https://www.示例.com", False),
        ("xn--fsq092h.com", "https://www.示例.com", False),
        ("示例.com", "https://www.xn--fsq092h.com", False),
        ("ПРИМЕР.рф", "https://пример.рф", False),
    ],
)
def test_entry_of_no_proxy_excepts_a_server(entry: str, server: str, is_proxied: bool) -> None:
    assert is_proxied == bool(chosen(server, HTTPS_PROXY="proxy", NO_PROXY=entry))


@pytest.mark.parametrize("server", ["https://127.0.0.1:6443", "https://localhost", HTTPS])
def test_proxy_url_wins_over_environment_and_loopback(server: str) -> None:
    assert "http://mine:3128" == chosen(server, "http://mine:3128", HTTPS_PROXY="other", NO_PROXY="*")


@pytest.mark.parametrize(
    ("url", "header"),
    [
        ("http://alice:secret@proxy:3128", "Basic YWxpY2U6c2VjcmV0"),
        ("http://al%40ice:s%3Acr%25t@proxy", "Basic YWxAaWNlOnM6Y3IldA=="),
        ("http://p%C3%A4ss:p%C3%A4ss@proxy", "Basic cMOkc3M6cMOkc3M="),
        ("https://alice@proxy", "Basic YWxpY2U6"),
        ("http://:secret@proxy", "Basic OnNlY3JldA=="),
        ("http://@proxy", "Basic Og=="),
        ("http://proxy", ""),
    ],
)
def test_user_in_the_url_becomes_a_header(url: str, header: str) -> None:
    found = proxy_for(HTTPS, url, "", {})
    assert found is not None
    assert header == found.authorization()


def test_secrets_of_a_proxy_are_in_no_repr() -> None:
    found = proxy_for(HTTPS, "http://alice:hunter2@proxy:3128", "x", {})
    assert found is not None
    assert SECRET not in repr(found) + str(found) + found.url
    assert "alice" not in repr(found) + found.url


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("proxy:3128", "begin with one of http://, https://, socks5://, socks5h://"),
        ("//proxy:3128", "begin with one of"),
        ("127.0.0.1:3128", "no scheme"),
        ("ftp://alice:hunter2@proxy", "begin with one of"),
        ("socks4://alice:hunter2@proxy", "begin with one of"),
        ("http://alice:hunter2@", "no host"),
        ("http://alice:hunter2@proxy:port", "port is not a number"),
        ("http://alice:hunter2@proxy:70000", "not a number from 1 to 65535"),
        ("http://alice:hunter2@proxy:0", "not a number from 1 to 65535"),
        ("http://alice:hunt er2@proxy", "%XX"),
        ("http://alice:hunter2%zz@proxy", "%XX"),
        ("http://alice:hunter2@pro xy", "host"),
        ("http://alice:22/hunter2@proxy", "%2F, %3F, %23"),
        ("http://hunter2#@proxy", "%2F, %3F, %23"),
        ("http://alice:hunter2@[fe80::1%25\u2028]", "not a name that DNS allows"),
        ("http://alice:hunter2@\x80", "not a name that DNS allows"),
        ("http://alice:hunter2@[fd00::1", "brackets"),
        ("http://alice:hunter2@proxy\n", "control"),
        (" http://alice:hunter2@proxy", "no scheme"),
        ("socks5://alice:hunter2" + "x" * 255 + "@proxy", "at most 255 ASCII"),
        ("socks5://%C3%A4:hunter2@proxy", "at most 255 ASCII"),
    ],
)
def test_proxy_url_that_cannot_be_used_is_refused_without_its_password(url: str, fault: str) -> None:
    with pytest.raises(InputError) as caught:
        chosen(HTTPS, url)
    assert "proxy-url in the kubeconfig x" in str(caught.value)
    assert fault in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("value", ["ftp://proxy", " ", "http://", "//proxy", "proxy:70000", "http:x"])
@pytest.mark.parametrize("server", ["https://127.0.0.1:6443", "https://[::1]", "https://localhost", HTTPS])
def test_variable_that_cannot_be_used_does_not_matter_without_a_proxied_server(
    value: str, server: str
) -> None:
    host = server.partition("://")[2].partition(":")[0]
    assert not chosen(server, HTTPS_PROXY=value, NO_PROXY=f"{host},.example")


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("ftp://alice:hunter2@proxy", "HTTPS_PROXY cannot be used: it must begin"),
        ("foo://host", "HTTPS_PROXY cannot be used: it must begin"),
        ("alice:hunter2@pro xy", "HTTPS_PROXY cannot be used: it must begin"),
        ("proxy:port", "HTTPS_PROXY cannot be used: it must begin"),
        ("http:x", "HTTPS_PROXY cannot be used: it names no host"),
        ("http://alice:hunter2^@proxy", "HTTPS_PROXY cannot be used: it is not a URL"),
        ("http://proxy:3128 ", "HTTPS_PROXY cannot be used: it is not a URL"),
        ("http://", "HTTPS_PROXY cannot be used: it is not a URL"),
        ("//proxy", "HTTPS_PROXY cannot be used: it names no host"),
        ("/proxy", "HTTPS_PROXY cannot be used: it names no host"),
        ("proxy:" + "9" * 5000, "HTTPS_PROXY cannot be used: its port is not"),
        ("hunter2?@proxy", "%2F, %3F, %23"),
        ("http://alice:pa/hunter2@proxy:3128", "%2F, %3F, %23"),
        (
            "http://alice:hunter2^@proxy",
            "with characters of user and password such as @ and ^ as %40 and %5E",
        ),
        ("proxy:70000", "HTTPS_PROXY cannot be used: its port is not"),
    ],
)
def test_variable_that_cannot_be_used_is_named_without_its_password(value: str, fault: str) -> None:
    with pytest.raises(InputError) as caught:
        chosen(HTTPS, HTTPS_PROXY=value)
    assert fault in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    ["http://alice:hunter2%zz@proxy", " http://alice:hunter2@proxy", "[fd00::1", "pro xy:1", "\x1bproxy"],
)
def test_variable_that_is_not_a_url_is_ignored_and_reported(
    value: str, caplog: pytest.LogCaptureFixture
) -> None:
    _warn_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert "" == chosen(HTTPS, https_proxy=value)
    (line,) = caplog.messages
    assert "https_proxy is ignored" in line
    assert SECRET not in line


@pytest.mark.parametrize("server", ["https://127.0.0.1:6443", "https://localhost", HTTPS])
def test_variable_that_cannot_be_used_does_not_matter_to_an_excepted_server(server: str) -> None:
    assert "" == chosen(server, HTTPS_PROXY="ftp://alice:hunter2@proxy", NO_PROXY="api.example.com")


def test_http_proxy_in_a_cgi_environment_is_refused() -> None:
    with pytest.raises(InputError, match="HTTP_PROXY is not used if REQUEST_METHOD is set"):
        chosen(HTTP, HTTP_PROXY="http://10.1.2.3:8080", REQUEST_METHOD="POST")
