"""Kubeconfigs, and their meaning to client-go 1.36. Each row names the file and function that decides it.

Files of client-go are named from `k8s.io/client-go`: `clientcmd` is tools/clientcmd. `json` is apimachinery's
runtime/serializer/json with sigs.k8s.io/json, `yaml` is sigs.k8s.io/yaml with its goyaml.v2.
"""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.pretty import pretty_repr

from credentialplugins import PluginProgram, make_pair
from kproxy.client.kubeconfig.loading import load_kubeconfig
from kproxy.client.kubeconfig.targets import find_target
from kproxy.client.target import ClientCertificate, Target
from kproxy.errors import EnvironmentLacking, InputError, KproxyError
from kubeconfigs import CANARY, SERVER, kubeconfig, packed, text
from stubapi.certificates import server_context

AUTHORITY = server_context("127.0.0.1")[1]
OTHER_AUTHORITY = server_context("127.0.0.1")[1]
CA = {"certificate-authority-data": packed(AUTHORITY)}
BEARER = {"Authorization": f"Bearer {CANARY}"}
BASIC = {"Authorization": f"Basic {packed(b'me:' + CANARY.encode())}"}
NOBODY: dict[str, str] = {}
LOGIN = {"username": "me", "password": CANARY}
PAIR = make_pair()
OTHER_PAIR = make_pair("other")
CERTIFICATE, KEY = PAIR.certificate.encode(), PAIR.key.encode()
V1, V1BETA1 = (f"client.authentication.k8s.io/{version}" for version in ("v1", "v1beta1"))
PLUGIN = {"command": "./plugin", "apiVersion": V1, "interactiveMode": "Never"}
MISSING_PLUGIN = {**PLUGIN, "command": "./missing"}
FILES = {
    "client.crt": CERTIFICATE,
    "client.key": KEY,
    "token": f"{CANARY}\n".encode(),
    "ca.crt": AUTHORITY,
    "two.crt": b"# bytes that are no text: \xff\n" + AUTHORITY + OTHER_AUTHORITY,
    "empty": b"",
    "no.pem": b"no certificate",
}


@dataclass(frozen=True)
class Row:
    """`given` is a kubeconfig as data or text. `wanted` is the target's fields, or the words of a refusal."""

    name: str
    source: str
    given: Any
    wanted: Any
    master: str = ""
    environment: dict[str, str] = field(default_factory=dict)


def seen(target: Target, names: set[str]) -> dict[str, object]:
    """The named fields of a target, including those of its TLS settings and its headers."""
    tls = target.tls
    known: dict[str, object] = {
        "server": target.server,
        "has_tls": tls is not None,
        "authority": tls and tls.authority,
        "is_verified": tls and tls.is_verified,
        "server_name": tls and tls.server_name,
        "headers": dict(target.credentials.headers()) if "headers" in names else None,
        "header_list": [*target.credentials.headers().items()] if "header_list" in names else None,
        "certificate": target.credentials.certificate() if "certificate" in names else None,
        "proxy_url": target.proxy_url,
        "takes_compressed": target.takes_compressed,
        "origin": target.origin,
    }
    return {name: known[name] for name in names}


GOOD = [
    # types, and ignored fields
    Row(
        "plain",
        "clientcmd/client_config.go ClientConfig",
        kubeconfig(),
        {"server": SERVER, "headers": BEARER, "authority": None, "is_verified": True},
    ),
    Row(
        "json as people indent it",
        "yaml YAMLToJSON",
        b'{\n\t"clusters": [{"cluster":\t{"server": "https:\\/\\/h"}}]\n}',
        {"server": "https://h"},
    ),
    Row(
        "unknown fields everywhere",
        "json Decode, not strict",
        kubeconfig({"nosuch": [1]}, {"token": CANARY, "Token": 7}, nosuch={"a": [1]}),
        {"headers": BEARER},
    ),
    Row(
        "field in another case is unknown",
        "sigs.k8s.io/json, case-sensitive",
        kubeconfig({"Insecure-Skip-TLS-Verify": True}),
        {"is_verified": True},
    ),
    Row(
        "preferences and extensions",
        "clientcmd/api/v1/types.go Config",
        kubeconfig(preferences={"colors": True}, extensions=[{"name": "a", "extension": {"b": 1}}]),
        {"server": SERVER},
    ),
    Row(
        "extensions of entries",
        "clientcmd/api/v1/types.go NamedExtension",
        kubeconfig(
            {"extensions": [{"name": "minikube.sigs.k8s.io", "extension": {"a": [1]}}]},
            {"extensions": [], "token": CANARY},
        ),
        {"headers": BEARER},
    ),
    Row(
        "null is absent",
        "sigs.k8s.io/json, null",
        kubeconfig(
            {"insecure-skip-tls-verify": None, "certificate-authority-data": None},
            {"token": CANARY, "exec": None, "as-groups": None},
        ),
        {"headers": BEARER, "is_verified": True},
    ),
    Row(
        "null lists",
        "sigs.k8s.io/json, null",
        {"clusters": [{"cluster": {"server": SERVER}}], "users": None, "contexts": None},
        {"server": SERVER, "headers": NOBODY},
    ),
    Row(
        "null entries are unnamed ones",
        "sigs.k8s.io/json, null",
        {"clusters": [{"cluster": {"server": SERVER}}], "users": [None], "contexts": [None]},
        {"server": SERVER, "headers": NOBODY},
    ),
    Row(
        "null user",
        "clientcmd/api/v1/conversion.go",
        {**kubeconfig(), "users": [{"name": "admin", "user": None}]},
        {"headers": NOBODY},
    ),
    Row(
        "no kind and no version",
        "json Decode, gvkWithDefaults",
        {**kubeconfig(), "kind": "", "apiVersion": None},
        {"server": SERVER},
    ),
    Row(
        "false as YAML 1.1 has it",
        "goyaml.v2 resolve.go",
        b"clusters:\n- cluster:\n    server: https://h\n    insecure-skip-tls-verify: off\n",
        {"is_verified": True},
    ),
    Row(
        "true as YAML 1.1 has it",
        "goyaml.v2 resolve.go",
        b"clusters:\n- cluster:\n    server: https://h\n    insecure-skip-tls-verify: yes\n",
        {"is_verified": False},
    ),
    Row(
        "date as a token",
        "goyaml.v2 decode.go scalar",
        b"clusters: [{cluster: {server: https://h}}]\nusers: [{user: {token: 2024-01-01}}]\n",
        {"headers": {"Authorization": "Bearer 2024-01-01"}},
    ),
    Row(
        "tagged text",
        "goyaml.v2 decode.go scalar",
        b"clusters: [{cluster: {server: https://h}}]\nusers: [{user: {token: !!str 1234}}]\n",
        {"headers": {"Authorization": "Bearer 1234"}},
    ),
    Row(
        "quoted number",
        "goyaml.v2 decode.go scalar",
        b"clusters: [{cluster: {server: https://h}}]\nusers: [{user: {token: '1234'}}]\n",
        {"headers": {"Authorization": "Bearer 1234"}},
    ),
    Row(
        "key that stands twice",
        "goyaml.v2 decode.go setMapIndex, not strict",
        b"clusters: [{cluster: {server: https://one, server: https://two}}]\n",
        {"server": "https://two"},
    ),
    Row(
        "anchors and merges",
        "goyaml.v2 decode.go merge",
        b"x: &x {server: https://one, tls-server-name: name}\nclusters: [{cluster: {<<: *x, server: https://two}}]\n",
        {"server": "https://two", "server_name": "name"},
    ),
    Row(
        "anchor of a key",
        "goyaml.v2 decode.go",
        b"clusters: [{cluster: {&s server: https://one, *s : https://two}}]\n",
        {"server": "https://two"},
    ),
    Row(
        "several documents",
        "goyaml.v2 Unmarshal, the first counts",
        b"clusters: [{cluster: {server: https://one}}]\n---\nclusters: {{{\n",
        {"server": "https://one"},
    ),
    Row("UTF-8 mark", "goyaml.v2 readerc.go", b"\xef\xbb\xbf" + text(kubeconfig()), {"server": SERVER}),
    Row("UTF-16", "goyaml.v2 readerc.go", text(kubeconfig()).decode().encode("utf-16"), {"server": SERVER}),
    Row(
        "deep value in an extension",
        "goyaml.v2, 10,000 levels",
        b"extensions: [{extension: "
        + b"[" * 5000
        + b"]" * 5000
        + b"}]"
        + b"\nclusters: [{cluster: {server: https://h}}]\n",
        {"server": "https://h"},
    ),
    # contexts
    Row(
        "no context at all",
        "clientcmd/client_config.go getContext",
        {"clusters": [{"cluster": {"server": SERVER}}], "users": [{"user": {"token": CANARY}}]},
        {"server": SERVER, "headers": BEARER},
    ),
    Row(
        "context without a user",
        "clientcmd/client_config.go getAuthInfo",
        kubeconfig(context={"cluster": "home"}),
        {"server": SERVER, "headers": NOBODY},
    ),
    Row(
        "entries of the empty name",
        "clientcmd/client_config.go getContextName",
        {
            **kubeconfig(),
            "current-context": "",
            "contexts": [{"context": {"cluster": "home", "user": "admin"}}],
        },
        {"server": SERVER, "headers": BEARER},
    ),
    Row(
        "namespace that no Namespace has",
        "clientcmd/client_config.go ConfirmUsable, no validateContext",
        kubeconfig(context={"cluster": "home", "user": "admin", "namespace": "A b"}),
        {"server": SERVER},
    ),
    Row(
        "another context is broken",
        "clientcmd/client_config.go ConfirmUsable",
        {
            **kubeconfig(),
            "contexts": [
                *kubeconfig()["contexts"],
                {"name": "broken", "context": {"cluster": "nosuch", "user": "nosuch"}},
            ],
        },
        {"server": SERVER},
    ),
    Row(
        "another user is contradictory",
        "clientcmd/client_config.go ConfirmUsable",
        {
            **kubeconfig(),
            "users": [*kubeconfig()["users"], {"name": "broken", "user": {"token": "a", "username": "b"}}],
        },
        {"headers": BEARER},
    ),
    # servers
    Row(
        "host and port with an authority",
        "rest/url_utils.go DefaultServerUrlFor",
        kubeconfig({"server": "127.0.0.1:6443", **CA}),
        {"server": "https://127.0.0.1:6443", "headers": BEARER, "authority": AUTHORITY},
    ),
    Row(
        "host and port with insecure",
        "rest/url_utils.go DefaultServerUrlFor",
        kubeconfig({"server": "127.0.0.1:6443", "insecure-skip-tls-verify": True}),
        {"server": "https://127.0.0.1:6443", "is_verified": False},
    ),
    Row(
        "host and port with an authority's file",
        "rest/url_utils.go DefaultServerUrlFor",
        kubeconfig({"server": "api.example:6443", "certificate-authority": "ca.crt"}),
        {"server": "https://api.example:6443", "authority": AUTHORITY},
    ),
    Row(
        "host and port alone",
        "rest/url_utils.go DefaultServerUrlFor; ClientConfig reads no credentials",
        kubeconfig({"server": "127.0.0.1:6443"}),
        {"server": "http://127.0.0.1:6443", "has_tls": False, "headers": NOBODY},
    ),
    Row(
        "host alone",
        "rest/url_utils.go DefaultServerURL",
        kubeconfig({"server": "localhost"}),
        {"server": "http://localhost", "headers": NOBODY},
    ),
    Row(
        "IPv6 host and port",
        "net/url Parse",
        kubeconfig({"server": "[fd00::1]:6443", **CA}),
        {"server": "https://[fd00::1]:6443"},
    ),
    Row(
        "http",
        "clientcmd/client_config.go ClientConfig, only if secure",
        kubeconfig({"server": "http://127.0.0.1:8080"}),
        {"server": "http://127.0.0.1:8080", "has_tls": False, "headers": NOBODY},
    ),
    Row(
        "http with an authority and insecure",
        "clientcmd/client_config.go ClientConfig, only if secure",
        kubeconfig({"server": "http://h", "insecure-skip-tls-verify": True, **CA}),
        {"server": "http://h", "has_tls": False, "headers": NOBODY},
    ),
    Row(
        "http with a missing token file",
        "clientcmd/client_config.go ClientConfig, only if secure",
        kubeconfig({"server": "http://h"}, {"tokenFile": "missing"}),
        {"headers": NOBODY},
    ),
    Row(
        "scheme in capitals",
        "net/url getScheme",
        kubeconfig({"server": "HTTPS://h:6443"}),
        {"server": "https://h:6443", "headers": BEARER},
    ),
    Row(
        "path of a proxying server",
        "rest/client.go NewRESTClient",
        kubeconfig({"server": "https://rancher.example/k8s/clusters/c-1"}),
        {"server": "https://rancher.example/k8s/clusters/c-1"},
    ),
    Row(
        "slash at the end",
        "rest/request.go URL, path.Join",
        kubeconfig({"server": "https://h:6443/"}),
        {"server": "https://h:6443"},
    ),
    Row(
        "slashes and dots in the path",
        "rest/request.go URL, path.Join",
        kubeconfig({"server": "https://h//a/./b/../c//"}),
        {"server": "https://h/a/c"},
    ),
    Row(
        "escapes in the path",
        "net/url EscapedPath",
        kubeconfig({"server": "https://h/a%20b"}),
        {"server": "https://h/a%20b"},
    ),
    Row(
        "query and fragment",
        "rest/client.go NewRESTClient",
        kubeconfig({"server": "https://h:6443?a=b#c"}),
        {"server": "https://h:6443"},
    ),
    Row(
        "port without a number",
        "net/url validOptionalPort",
        kubeconfig({"server": "https://h:"}),
        {"server": "https://h"},
    ),
    Row(
        "IPv6 with a zone",
        "net/url parseHost",
        kubeconfig({"server": "https://[fe80::1%25eth0]:6443"}),
        {"server": "https://[fe80::1%25eth0]:6443"},
    ),
    Row(
        "highest port",
        "net Dial",
        kubeconfig({"server": "https://h:65535"}),
        {"server": "https://h:65535"},
    ),
    Row(
        "user in the URL",
        "net/http Client.send",
        kubeconfig({"server": "https://me@h"}, {}),
        {"server": "https://h", "headers": {"Authorization": f"Basic {packed(b'me:')}"}},
    ),
    Row(
        "name beyond ASCII",
        "net/http idnaASCII",
        kubeconfig({"server": "https://bücher.example"}),
        {"server": "https://xn--bcher-kva.example"},
    ),
    Row(
        "user and password in the URL",
        "net/http Client.send, before the token's round tripper",
        kubeconfig({"server": f"https://me:{CANARY}@h:6443"}, {"token": "other"}),
        {"server": "https://h:6443", "headers": BASIC},
    ),
    Row(
        "user and password in a URL without TLS",
        "net/http Client.send sends them; never here",
        kubeconfig({"server": f"http://me:{CANARY}@h"}),
        {"server": "http://h", "headers": NOBODY},
    ),
    # --master
    Row(
        "master overrides the server",
        "clientcmd/client_config.go getCluster",
        kubeconfig(CA),
        {"server": "https://other:1", "authority": AUTHORITY, "headers": BEARER},
        "https://other:1/",
    ),
    Row(
        "master clears the server's name",
        "clientcmd/client_config.go getCluster",
        kubeconfig({"tls-server-name": "n"}),
        {"server_name": ""},
        "https://other:1",
    ),
    Row(
        "master without TLS",
        "clientcmd/client_config.go ClientConfig, only if secure",
        kubeconfig(CA),
        {"server": "http://other:1", "has_tls": False, "headers": NOBODY},
        "http://other:1",
    ),
    Row(
        "master without a scheme, with an authority",
        "rest/url_utils.go DefaultServerUrlFor",
        kubeconfig(CA),
        {"server": "https://other:1", "headers": BEARER},
        "other:1",
    ),
    Row(
        "master for a cluster without a server",
        "clientcmd/client_config.go getCluster",
        {**kubeconfig(), "clusters": [{"name": "home", "cluster": {}}]},
        {"server": "https://other:1", "headers": BEARER},
        "https://other:1",
    ),
    Row(
        "master with an empty kubeconfig",
        "clientcmd/merged_client_builder.go ClientConfig",
        b"",
        {"server": "https://other:1", "headers": NOBODY},
        "https://other:1",
    ),
    Row(
        "proxy stays with master",
        "clientcmd/client_config.go getCluster",
        kubeconfig({"proxy-url": "http://p:3128"}),
        {"proxy_url": "http://p:3128"},
        "https://other:1",
    ),
    # TLS
    Row(
        "authority",
        "transport/transport.go TLSConfigFor",
        kubeconfig(CA),
        {"authority": AUTHORITY, "is_verified": True},
    ),
    Row(
        "authority in lines",
        "encoding/base64, newlines count for nothing",
        kubeconfig({"certificate-authority-data": base64.encodebytes(AUTHORITY).decode()}),
        {"authority": AUTHORITY},
    ),
    Row(
        "empty data with a file",
        "transport/transport.go dataFromSliceOrFile",
        kubeconfig({"certificate-authority-data": "", "certificate-authority": "ca.crt"}),
        {"authority": AUTHORITY},
    ),
    Row(
        "authority's file seen from the kubeconfig",
        "clientcmd/loader.go ResolveLocalPaths",
        kubeconfig({"certificate-authority": "./x/../ca.crt"}),
        {"authority": AUTHORITY},
    ),
    Row(
        "several authorities between other things",
        "crypto/x509 AppendCertsFromPEM",
        kubeconfig({"certificate-authority": "two.crt"}),
        {"authority": FILES["two.crt"]},
    ),
    Row(
        "insecure",
        "transport/transport.go TLSConfigFor",
        kubeconfig({"insecure-skip-tls-verify": True}),
        {"is_verified": False, "authority": None, "headers": BEARER},
    ),
    Row(
        "server's name",
        "clientcmd/client_config.go getServerIdentificationPartialConfig",
        kubeconfig({"tls-server-name": "kubernetes"}),
        {"server_name": "kubernetes"},
    ),
    Row(
        "insecure with a server's name",
        "transport/transport.go TLSConfigFor",
        kubeconfig({"insecure-skip-tls-verify": True, "tls-server-name": "n"}),
        {"is_verified": False, "server_name": "n"},
    ),
    Row(
        "without compression",
        "clientcmd/client_config.go ClientConfig",
        kubeconfig({"disable-compression": True}),
        {"takes_compressed": False},
    ),
    Row(
        "proxy with a password",
        "clientcmd parseProxyURL",
        kubeconfig({"proxy-url": f"http://me:{CANARY}@p:3128"}),
        {"proxy_url": f"http://me:{CANARY}@p:3128"},
    ),
    Row(
        "proxy by socks",
        "clientcmd parseProxyURL",
        kubeconfig({"proxy-url": "socks5://p:1080"}),
        {"proxy_url": "socks5://p:1080"},
    ),
    Row(
        "empty proxy",
        "clientcmd/validation.go validateClusterInfo",
        kubeconfig({"proxy-url": ""}),
        {"proxy_url": ""},
    ),
    # users
    Row(
        "token file",
        "clientcmd/client_config.go getUserIdentificationPartialConfig",
        kubeconfig(user={"tokenFile": "token"}),
        {"headers": BEARER},
    ),
    Row(
        "token file with a stale token",
        "transport/round_trippers.go NewBearerAuthWithRefreshRoundTripper",
        kubeconfig(user={"token": "stale", "tokenFile": "token"}),
        {"headers": BEARER},
    ),
    Row(
        "token file with an empty token",
        "transport/round_trippers.go NewBearerAuthWithRefreshRoundTripper",
        kubeconfig(user={"token": "", "tokenFile": "token"}),
        {"headers": BEARER},
    ),
    Row(
        "basic authentication",
        "transport/round_trippers.go HTTPWrappersForConfig",
        kubeconfig(user=LOGIN),
        {"headers": BASIC},
    ),
    Row(
        "user without a password",
        "transport/config.go HasBasicAuth",
        kubeconfig(user={"username": "me"}),
        {"headers": {"Authorization": f"Basic {packed(b'me:')}"}},
    ),
    Row(
        "password without a user",
        "transport/config.go HasBasicAuth",
        kubeconfig(user={"password": CANARY}),
        {"headers": NOBODY},
    ),
    Row(
        "token file with a password alone",
        "transport/config.go HasBasicAuth",
        kubeconfig(user={"tokenFile": "token", "password": "x"}),
        {"headers": BEARER},
    ),
    Row("nobody", "clientcmd/client_config.go canIdentifyUser", kubeconfig(user={}), {"headers": NOBODY}),
    Row(
        "key without a certificate",
        "clientcmd/client_config.go getUserIdentificationPartialConfig",
        kubeconfig(user={"client-key": "missing", "token": CANARY}),
        {"headers": BEARER},
    ),
    Row(
        "base64 of nothing",
        "encoding/json, []byte",
        kubeconfig(user={"client-certificate-data": "", "token": CANARY}),
        {"headers": BEARER},
    ),
    # certificates
    Row(
        "certificate as data",
        "transport/transport.go TLSConfigFor",
        kubeconfig(user={"client-certificate-data": packed(CERTIFICATE), "client-key-data": packed(KEY)}),
        {"certificate": ClientCertificate(CERTIFICATE, KEY), "headers": NOBODY},
    ),
    Row(
        "certificate's files",
        "transport/transport.go TLSConfigFor",
        kubeconfig(user={"client-certificate": "client.crt", "client-key": "x/../client.key"}),
        {"certificate": ClientCertificate(CERTIFICATE, KEY)},
    ),
    Row(
        "certificate as data, key's file",
        "transport/transport.go dataFromSliceOrFile",
        kubeconfig(user={"client-certificate-data": packed(CERTIFICATE), "client-key": "client.key"}),
        {"certificate": ClientCertificate(CERTIFICATE, KEY)},
    ),
    Row(
        "certificate with a token",
        "rest/transport.go TransportConfig",
        kubeconfig(user={"client-certificate": "client.crt", "client-key": "client.key", "token": CANARY}),
        {"certificate": ClientCertificate(CERTIFICATE, KEY), "headers": BEARER},
    ),
    Row(
        "certificate with a user",
        "clientcmd/validation.go validateAuthInfo, methods",
        kubeconfig(user={"client-certificate": "client.crt", "client-key": "client.key", **LOGIN}),
        {"certificate": ClientCertificate(CERTIFICATE, KEY), "headers": BASIC},
    ),
    Row(
        "host and port with a client certificate",
        "rest/url_utils.go DefaultServerUrlFor",
        kubeconfig({"server": "h:6443"}, {"client-certificate": "client.crt", "client-key": "client.key"}),
        {"server": "https://h:6443", "certificate": ClientCertificate(CERTIFICATE, KEY)},
    ),
    Row(
        "host and port with a client certificate as data",
        "rest/url_utils.go DefaultServerUrlFor",
        kubeconfig(
            {"server": "h:6443"},
            {"client-certificate-data": packed(CERTIFICATE), "client-key-data": packed(KEY)},
        ),
        {"server": "https://h:6443"},
    ),
    Row(
        "http with a client certificate",
        "clientcmd/client_config.go ClientConfig, only if secure",
        kubeconfig({"server": "http://h"}, {"client-certificate": "client.crt", "client-key": "client.key"}),
        {"has_tls": False, "certificate": None},
    ),
    # impersonation
    Row(
        "impersonated user",
        "transport/round_trippers.go impersonatingRoundTripper",
        kubeconfig(user={"token": CANARY, "as": "alice"}),
        {"headers": {**BEARER, "Impersonate-User": "alice"}},
    ),
    Row(
        "impersonated in all ways",
        "clientcmd/client_config_test.go TestFullImpersonateConfig",
        kubeconfig(
            user={
                "as": "alice",
                "as-uid": "abc123",
                "as-groups": ["group-1", "group-2"],
                "as-user-extra": {"some-key": ["some-value"], "none": None},
            }
        ),
        {
            "header_list": [
                ("Impersonate-User", "alice"),
                ("Impersonate-Uid", "abc123"),
                ("Impersonate-Group", "group-1"),
                ("Impersonate-Group", "group-2"),
                ("Impersonate-Extra-some-key", "some-value"),
            ]
        },
    ),
    # plugins
    Row(
        "plugin with the file",
        "clientcmd/loader.go GetAuthInfoFileReferences",
        kubeconfig(user={"exec": PLUGIN}),
        {"headers": BEARER},
    ),
    Row(
        "plugin without its mode, v1beta1",
        "clientcmd/api/v1/defaults.go SetDefaults_ExecConfig",
        kubeconfig(user={"exec": {"command": "./plugin", "apiVersion": V1BETA1, "args": None, "env": None}}),
        {"server": SERVER},
    ),
    Row(
        "plugin with a token",
        "auth/exec/exec.go UpdateTransportConfig",
        kubeconfig(user={"exec": MISSING_PLUGIN, "token": CANARY}),
        {"headers": BEARER},
    ),
    Row(
        "plugin with a token file",
        "auth/exec/exec.go UpdateTransportConfig",
        kubeconfig(user={"exec": MISSING_PLUGIN, "tokenFile": "token"}),
        {"headers": BEARER},
    ),
    Row(
        "plugin with a user",
        "auth/exec/exec.go UpdateTransportConfig",
        kubeconfig(user={"exec": MISSING_PLUGIN, **LOGIN}),
        {"headers": BASIC},
    ),
    Row(
        "plugin with a certificate",
        "auth/exec/exec.go UpdateTransportConfig",
        kubeconfig(
            user={"exec": MISSING_PLUGIN, "client-certificate": "client.crt", "client-key": "client.key"}
        ),
        {"headers": NOBODY, "certificate": ClientCertificate(CERTIFICATE, KEY)},
    ),
    Row(
        "plugin with an impersonated user",
        "transport/round_trippers.go HTTPWrappersForConfig",
        kubeconfig(user={"exec": PLUGIN, "as": "alice"}),
        {"headers": {**BEARER, "Impersonate-User": "alice"}},
    ),
    Row(
        "http with a plugin",
        "clientcmd/client_config.go ClientConfig, only if secure",
        kubeconfig({"server": "http://h"}, {"exec": MISSING_PLUGIN}),
        {"headers": NOBODY, "certificate": None},
    ),
]

BAD = [
    # types
    Row(
        "quoted boolean",
        "sigs.k8s.io/json, literalStore",
        kubeconfig({"insecure-skip-tls-verify": "false", **CA}),
        r"clusters\[0\] 'home': insecure-skip-tls-verify: true or false is expected, and it is text",
    ),
    Row(
        "number as a boolean",
        "sigs.k8s.io/json, literalStore",
        kubeconfig({"insecure-skip-tls-verify": 0}),
        "insecure-skip-tls-verify: true or false is expected, and it is a number",
    ),
    Row(
        "quoted boolean for compression",
        "sigs.k8s.io/json, literalStore",
        kubeconfig({"disable-compression": "no"}),
        "disable-compression: true or false is expected",
    ),
    Row(
        "number as a server",
        "sigs.k8s.io/json, literalStore",
        kubeconfig({"server": 1}),
        r"clusters\[0\] 'home': server: text is expected, and it is a number",
    ),
    Row(
        "number as a token",
        "sigs.k8s.io/json, literalStore",
        kubeconfig(user={"token": 31337}),
        r"users\[0\] 'admin': token: text is expected, and it is a number; quote",
    ),
    Row(
        "octal number as a password",
        "goyaml.v2 resolve.go",
        b"users: [{user: {username: a, password: 0777}}]",
        "password: text is expected, and it is a number",
    ),
    Row(
        "number with underscores as a token",
        "goyaml.v2 resolve.go",
        b"users: [{user: {token: 1_000}}]",
        "token: text is expected, and it is a number",
    ),
    Row(
        "boolean of YAML 1.1 as a name",
        "goyaml.v2 resolve.go",
        b"users: [{name: no}]",
        r"users\[0\]: name: text is expected, and it is true or false",
    ),
    Row(
        "boolean of YAML 1.1 as a server's name",
        "goyaml.v2 resolve.go",
        b"clusters: [{cluster: {tls-server-name: on}}]",
        "tls-server-name: text is expected",
    ),
    Row(
        "number as a context",
        "sigs.k8s.io/json, literalStore",
        {**kubeconfig(), "current-context": 7},
        "current-context: text is expected",
    ),
    Row(
        "text as a list",
        "sigs.k8s.io/json, array",
        {**kubeconfig(), "users": "admin"},
        "users: a list is expected, and it is text",
    ),
    Row(
        "mapping as a list",
        "sigs.k8s.io/json, object",
        {**kubeconfig(), "clusters": {"home": {}}},
        "clusters: a list is expected, and it is a mapping",
    ),
    Row(
        "text as an entry",
        "sigs.k8s.io/json, literalStore",
        {**kubeconfig(), "contexts": ["here"]},
        r"contexts\[0\]: a mapping is expected, and it is text",
    ),
    Row(
        "list as a cluster",
        "sigs.k8s.io/json, array",
        kubeconfig([]),
        r"clusters\[0\] 'home': a mapping is expected",
    ),
    Row(
        "wrong type in an entry that is not used",
        "sigs.k8s.io/json, the whole file",
        {**kubeconfig(), "users": [*kubeconfig()["users"], {"name": "other", "user": {"token": [CANARY]}}]},
        r"users\[1\] 'other': token: text is expected, and it is a list",
    ),
    Row(
        "text as groups",
        "sigs.k8s.io/json, literalStore",
        kubeconfig(user={"as": "a", "as-groups": "b"}),
        "as-groups: a list is expected",
    ),
    Row(
        "text as an extra",
        "sigs.k8s.io/json, literalStore",
        kubeconfig(user={"as": "a", "as-user-extra": {"k": "v"}}),
        r"as-user-extra\[...\]: a list is expected",
    ),
    Row(
        "text as a plugin",
        "sigs.k8s.io/json, literalStore",
        kubeconfig(user={"exec": "aws"}),
        "exec: a mapping is expected",
    ),
    Row(
        "number in a plugin's environment",
        "sigs.k8s.io/json, literalStore",
        kubeconfig(user={"exec": {"env": [{"name": "A", "value": 1}]}}),
        r"exec.env\[0\].value: text is expected",
    ),
    Row("list as the whole", "sigs.k8s.io/json, array", b"- a", "a mapping is expected, and it is a list"),
    Row(
        "text as the whole",
        "sigs.k8s.io/json, literalStore",
        b"kubeconfig",
        "a mapping is expected, and it is text",
    ),
    Row(
        "data that is not base64",
        "encoding/base64 StdEncoding",
        kubeconfig({"certificate-authority-data": "-----BEGIN"}),
        r"clusters\[0\] 'home': certificate-authority-data: it is not Base64",
    ),
    Row(
        "data without padding",
        "encoding/base64 StdEncoding",
        kubeconfig(user={"client-key-data": "QQ"}),
        "client-key-data: it is not Base64",
    ),
    Row(
        "data in the URL alphabet",
        "encoding/base64 StdEncoding",
        kubeconfig(user={"client-key-data": "_-__"}),
        "client-key-data: it is not Base64",
    ),
    Row(
        "data with blanks",
        "encoding/base64 StdEncoding",
        kubeconfig(user={"client-key-data": "QUFB QUFB"}),
        "client-key-data: it is not Base64",
    ),
    Row(
        "number as data",
        "sigs.k8s.io/json, []byte",
        kubeconfig(user={"client-key-data": 1234}),
        "client-key-data: it is not text; write Base64",
    ),
    Row(
        "another kind",
        "json Decode, not registered",
        {**kubeconfig(), "kind": "Secret"},
        "kind: it is 'Secret', not Config",
    ),
    Row(
        "another version",
        "json Decode, not registered",
        {**kubeconfig(), "apiVersion": "v2"},
        "apiVersion: it is 'v2'",
    ),
    Row(
        "number as a version",
        "json Interpret",
        {**kubeconfig(), "apiVersion": 1},
        "apiVersion: text is expected",
    ),
    Row(
        "name twice",
        "clientcmd/api/v1/conversion.go",
        {**kubeconfig(), "users": kubeconfig()["users"] * 2},
        r"users\[1\] 'admin': an entry before it has the same name",
    ),
    Row(
        "cluster twice, of no name",
        "clientcmd/api/v1/conversion.go",
        {**kubeconfig(), "clusters": [None, {}]},
        r"clusters\[1\] '': an entry before it has the same name",
    ),
    # text
    Row("no YAML", "yaml YAMLToJSON", b"a: [", "line 2, column 1: while parsing a flow node"),
    Row(
        "tab as indentation",
        "yaml YAMLToJSON",
        b"clusters:\n\t- a: b\n",
        "line 2, column 1: .*; indent with blanks, not with tabs",
    ),
    Row(
        "no UTF-8",
        "goyaml.v2 readerc.go",
        b"a: b\nc: \xff",
        "the text is not UTF-8 at byte 8; save it as UTF-8",
    ),
    Row("NUL", "goyaml.v2 readerc.go", b"a: \0", r"the character U\+0000 at 3 is not allowed"),
    Row("too deep", "goyaml.v2, 10,000 levels", b"[" * 100_000, "nested deeper than 10000 levels"),
    Row(
        "aliases without end",
        "goyaml.v2 decode.go, excessive aliasing",
        b"a: &a [x,x,x,x,x,x,x,x,x]\n"
        + b"".join(b"%c: &%c [%s]\n" % (c + 1, c + 1, b",".join([b"*%c" % c] * 9)) for c in range(97, 105)),
        "aliases repeat more than",
    ),
    Row("alias of nothing", "goyaml.v2 decode.go alias", b"a: *b", "line 1, column 4: an alias"),
    # contexts
    Row("nothing", "clientcmd/validation.go ErrEmptyConfig", b"", "it is empty; write a cluster"),
    Row("only a comment", "clientcmd/validation.go ErrEmptyConfig", b"# nothing\n", "it is empty"),
    Row(
        "empty first document",
        "goyaml.v2 Unmarshal, the first counts",
        b"---\n---\nclusters: [{cluster: {server: https://h}}]\n",
        "it is empty",
    ),
    Row(
        "unknown context",
        "clientcmd/client_config.go ConfirmUsable",
        {**kubeconfig(), "current-context": "nosuch"},
        r"current-context: there is no context 'nosuch'; name one that exists \('here'\)",
    ),
    Row(
        "no current context",
        "clientcmd/validation.go ErrEmptyCluster",
        {**kubeconfig(), "current-context": ""},
        "current-context: it is missing; name one of the contexts",
    ),
    Row(
        "context without a cluster",
        "clientcmd/validation.go ErrEmptyCluster",
        kubeconfig(context={"user": "admin"}),
        r"contexts\[0\] 'here': cluster: it is missing; name one of the clusters",
    ),
    Row(
        "context of no name without a cluster",
        "clientcmd/validation.go ErrEmptyCluster",
        {"contexts": [{"context": {"user": ""}}]},
        r"contexts\[0\] '': cluster: it is missing",
    ),
    Row(
        "cluster of no name without a server",
        "clientcmd/validation.go ErrEmptyCluster",
        {**kubeconfig(context={"user": "admin"}), "clusters": [None]},
        r"clusters\[0\] '': server: it is missing",
    ),
    Row(
        "unknown cluster where there is none",
        "clientcmd/validation.go validateContext",
        {**kubeconfig(), "clusters": None},
        r"there is no cluster 'home'; name one that exists \(none\)",
    ),
    Row(
        "empty cluster",
        "clientcmd/validation.go ErrEmptyCluster",
        {**kubeconfig(), "clusters": [{"name": "home"}]},
        r"clusters\[0\] 'home': server: it is missing",
    ),
    Row(
        "text as a preference",
        "sigs.k8s.io/json, literalStore",
        kubeconfig(preferences={"colors": "true"}),
        "preferences.colors: true or false is expected, and it is text",
    ),
    Row(
        "mapping as the extensions of a user",
        "sigs.k8s.io/json, object",
        kubeconfig(user={"token": CANARY, "extensions": {"a": 1}}),
        r"users\[0\] 'admin': extensions: a list is expected, and it is a mapping",
    ),
    Row(
        "unknown cluster",
        "clientcmd/validation.go validateContext",
        kubeconfig(context={"cluster": "nosuch", "user": "admin"}),
        r"contexts\[0\] 'here': cluster: there is no cluster 'nosuch'",
    ),
    Row(
        "unknown user",
        "clientcmd/validation.go validateContext",
        kubeconfig(context={"cluster": "home", "user": "nosuch"}),
        r"contexts\[0\] 'here': user: there is no user 'nosuch'",
    ),
    Row(
        "unknown context with master",
        "clientcmd/client_config.go ConfirmUsable",
        {**kubeconfig(), "current-context": "nosuch"},
        "there is no context 'nosuch'",
        "https://h",
    ),
    # servers
    Row(
        "no server",
        "clientcmd/validation.go validateClusterInfo",
        kubeconfig({"server": "", "tls-server-name": "n"}),
        r"clusters\[0\] 'home': server: it is missing; write it as https://host:port",
    ),
    Row(
        "another scheme",
        "net/http Transport.roundTrip",
        kubeconfig({"server": "ftp://h"}),
        "server: it does not begin with https:// or http://",
    ),
    Row(
        "host with a path, without a scheme",
        "rest/url_utils.go DefaultServerURL",
        kubeconfig({"server": "h/path"}),
        "server: it is neither a URL nor host:port",
    ),
    Row(
        "IPv6 without brackets",
        "net/url parseHost, Go 1.26",
        kubeconfig({"server": "https://fd00::1"}),
        "server: its port is not a number, or it is an IPv6 address without brackets",
    ),
    Row(
        "open bracket",
        "net/url parseHost",
        kubeconfig({"server": "https://[fd00::1"}),
        "server: its address is not an IPv6 address in brackets",
    ),
    Row(
        "bad IPv6 address in brackets",
        "net/url parseHost, Go 1.26",
        kubeconfig({"server": "https://[1:2]"}),
        "server: the text in its brackets is not an IPv6 address",
    ),
    Row(
        "name in brackets",
        "net/url parseHost",
        kubeconfig({"server": "https://[h]"}),
        "server: its address is not an IPv6 address in brackets",
    ),
    Row(
        "port that is no number",
        "net/url validOptionalPort",
        kubeconfig({"server": "https://h:port"}),
        "server: its port is not a number",
    ),
    Row(
        "port 0",
        "net Dial",
        kubeconfig({"server": "https://h:0"}),
        "server: its port is not a number from 1 to 65535",
    ),
    Row(
        "port alone",
        "crypto/tls, no name to verify",
        kubeconfig({"server": "https://:6443"}),
        "server: it names no host",
    ),
    Row(
        "slashes without a scheme",
        "rest/url_utils.go DefaultServerURL",
        kubeconfig({"server": "//h:6443"}),
        "server: it is neither a URL nor host:port",
    ),
    Row(
        "port that is too large",
        "net Dial",
        kubeconfig({"server": "https://h:65536"}),
        "server: its port is not a number from 1 to 65535",
    ),
    Row(
        "blank in the host",
        "net/url parseHost",
        kubeconfig({"server": "https://a b"}),
        "server: its host has characters that no host name has",
    ),
    Row(
        "newline in the server",
        "net/url Parse",
        kubeconfig({"server": f"https://me:{CANARY}@h\n"}),
        "server: it holds a control character",
    ),
    Row(
        "half an escape in the path",
        "net/url unescape",
        kubeconfig({"server": "https://h/%2"}),
        "server: its path has a % without two hexadecimal digits after it",
    ),
    Row("scheme and no host", "net/http Transport.roundTrip", kubeconfig({"server": "https://"}), "server: "),
    Row(
        "bad password in the URL",
        "net/url validUserinfo",
        kubeconfig({"server": f"https://me:{CANARY} x@h"}),
        "server: its user or password has characters",
    ),
    Row(
        "bad master",
        "rest/url_utils.go DefaultServerURL",
        kubeconfig(),
        "--master: it does not begin with",
        "ftp://h",
    ),
    # TLS
    Row(
        "authority with insecure",
        "transport/transport.go TLSConfigFor",
        kubeconfig({"insecure-skip-tls-verify": True, **CA}),
        r"clusters\[0\] 'home': insecure-skip-tls-verify: a certificate authority is given too",
    ),
    Row(
        "authority's file with insecure",
        "transport/transport.go TLSConfigFor",
        kubeconfig({"insecure-skip-tls-verify": True, "certificate-authority": "ca.crt"}),
        "insecure-skip-tls-verify: a certificate authority is given too",
    ),
    Row(
        "authority as data and as a file",
        "clientcmd/validation.go validateClusterInfo",
        kubeconfig({"certificate-authority": "ca.crt", **CA}),
        "certificate-authority: certificate-authority-data is given too; remove one",
    ),
    Row(
        "authority that is no PEM",
        "transport/transport.go rootCertPool",
        kubeconfig({"certificate-authority-data": packed(b"x")}),
        r"clusters\[0\] 'home': certificate-authority-data: it holds no certificate that can be read",
    ),
    Row(
        "authority of which nothing can be read",
        "crypto/x509 AppendCertsFromPEM",
        kubeconfig(
            {
                "certificate-authority-data": packed(
                    b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
                )
            }
        ),
        "certificate-authority-data: it holds no certificate",
    ),
    Row(
        "authority's file that is no PEM",
        "transport/transport.go rootCertPool",
        kubeconfig({"certificate-authority": "no.pem"}),
        "certificate-authority: it holds no certificate",
    ),
    Row(
        "authority's file that is empty",
        "transport/transport.go rootCertPool, ClientsAllowCARotation",
        kubeconfig({"certificate-authority": "empty"}),
        "certificate-authority: it holds no certificate",
    ),
    Row(
        "authority's file that is missing",
        "clientcmd/validation.go validateClusterInfo",
        kubeconfig({"certificate-authority": "missing"}),
        "certificate-authority: .*/missing cannot be read: No such file",
    ),
    Row(
        "authority's file that is missing, without TLS",
        "clientcmd/validation.go validateClusterInfo",
        kubeconfig({"server": "http://h", "certificate-authority": "missing"}),
        "certificate-authority: .*/missing cannot be read",
    ),
    Row(
        "authority's file that is a directory",
        "transport/transport.go dataFromSliceOrFile",
        kubeconfig({"certificate-authority": "."}),
        "certificate-authority: .* cannot be read: it is a directory",
    ),
    Row(
        "home in a path",
        "clientcmd/loader.go ResolvePaths",
        kubeconfig({"certificate-authority": "~/ca.crt"}),
        "certificate-authority: .*/~/ca.crt cannot be read",
    ),
    Row(
        "proxy of another scheme",
        "clientcmd parseProxyURL",
        kubeconfig({"proxy-url": "ftp://p"}),
        r"clusters\[0\] 'home': proxy-url: it does not begin with http:// or https:// or socks5://",
    ),
    Row(
        "proxy without a scheme",
        "clientcmd parseProxyURL",
        kubeconfig({"proxy-url": "p:3128"}),
        "proxy-url: it does not begin with",
    ),
    Row(
        "proxy's address without a scheme",
        "net/url Parse",
        kubeconfig({"proxy-url": "10.0.0.1:3128"}),
        "proxy-url: it has no scheme",
    ),
    Row(
        "proxy with a bad port",
        "net/url validOptionalPort",
        kubeconfig({"proxy-url": f"http://me:{CANARY}@p:port"}),
        "proxy-url: its port is not a number",
    ),
    # users
    Row(
        "token with a user",
        "clientcmd/validation.go validateAuthInfo",
        kubeconfig(user={"token": CANARY, **LOGIN}),
        r"users\[0\] 'admin': token: username or password is given too",
    ),
    Row(
        "token with a password",
        "clientcmd/validation.go validateAuthInfo",
        kubeconfig(user={"token": CANARY, "password": CANARY}),
        "token: username or password is given too",
    ),
    Row(
        "token with a user without a password",
        "clientcmd/validation.go validateAuthInfo",
        kubeconfig(user={"token": CANARY, "username": "me"}),
        "token: username or password is given too",
    ),
    Row(
        "certificate as data without a key",
        "clientcmd/validation.go validateAuthInfo",
        kubeconfig(user={"client-certificate-data": packed(CERTIFICATE)}),
        r"users\[0\] 'admin': client-key: it is missing",
    ),
    Row(
        "plugin with a variable that is null",
        "clientcmd/validation.go validateAuthInfo",
        kubeconfig(user={"exec": {"command": "a", "apiVersion": V1BETA1, "env": [None]}}),
        r"users\[0\] 'admin': exec.env\[0\].name: '' is not a name of a variable",
    ),
    Row(
        "plugin without a command, without TLS",
        "clientcmd/validation.go validateAuthInfo",
        kubeconfig({"server": "http://h"}, {"exec": {"apiVersion": V1}}),
        r"users\[0\] 'admin': exec.command: it is missing",
    ),
    Row(
        "plugin without a command, with a token",
        "clientcmd/validation.go validateAuthInfo",
        kubeconfig(user={"token": CANARY, "exec": {"apiVersion": V1}}),
        r"users\[0\] 'admin': exec.command: it is missing",
    ),
    Row(
        "token file with a user",
        "transport/round_trippers.go HTTPWrappersForConfig",
        kubeconfig(user={"tokenFile": "token", **LOGIN}),
        "tokenFile: username is given too",
    ),
    Row(
        "certificate without a key",
        "clientcmd/validation.go validateAuthInfo",
        kubeconfig(user={"client-certificate": "ca.crt"}),
        r"users\[0\] 'admin': client-key: it is missing",
    ),
    Row(
        "certificate as data and as a file",
        "clientcmd/validation.go validateAuthInfo",
        kubeconfig(
            user={"client-certificate": "ca.crt", "client-certificate-data": "QUFB", "client-key": "x"}
        ),
        "client-certificate: client-certificate-data is given too",
    ),
    Row(
        "key as data and as a file",
        "clientcmd/validation.go validateAuthInfo",
        kubeconfig(user={"client-certificate": "ca.crt", "client-key-data": "QUFB", "client-key": "x"}),
        "client-key: client-key-data is given too",
    ),
    Row(
        "groups without whom they are of",
        "clientcmd/validation.go validateAuthInfo",
        kubeconfig(user={"as-groups": ["g"]}),
        r"users\[0\] 'admin': as: it is missing",
    ),
    Row(
        "extra without whom it is of",
        "clientcmd/validation.go validateAuthInfo",
        kubeconfig(user={"as-user-extra": {"k": ["v"]}}),
        "as: it is missing",
    ),
    Row(
        "uid without whom it is of",
        "clientcmd/validation.go validateAuthInfo",
        kubeconfig(user={"as-uid": "u"}),
        "as: it is missing",
    ),
    Row(
        "auth provider that is gone",
        "rest/plugin.go GetAuthProvider",
        kubeconfig(user={"auth-provider": {"name": "gcp", "config": {"access-token": CANARY}}}),
        r"users\[0\] 'admin': auth-provider: 'gcp' is no longer a part of Kubernetes clients; use an exec plugin",
    ),
    Row(
        "auth provider with a plugin",
        "clientcmd/validation.go validateAuthInfo",
        kubeconfig(user={"auth-provider": {"name": "oidc"}, "exec": {"command": "a"}}),
        "auth-provider: ",
    ),
    Row(
        "plugin without a command",
        "clientcmd/validation.go validateAuthInfo",
        kubeconfig(user={"exec": {"apiVersion": "client.authentication.k8s.io/v1"}}),
        "exec.command: it is missing",
    ),
    Row(
        "plugin without a version",
        "clientcmd/validation.go validateAuthInfo",
        kubeconfig(user={"exec": {"command": "a"}}),
        "exec.apiVersion: '' is not one of",
    ),
    Row(
        "plugin of a version that is gone",
        "plugin/pkg/client/auth/exec/exec.go newAuthenticator",
        kubeconfig(user={"exec": {"command": "a", "apiVersion": "client.authentication.k8s.io/v1alpha1"}}),
        "exec.apiVersion: client.authentication.k8s.io/v1alpha1 was removed",
    ),
    Row(
        "plugin without its mode",
        "clientcmd/validation.go validateAuthInfo",
        kubeconfig(user={"exec": {"command": "a", "apiVersion": "client.authentication.k8s.io/v1"}}),
        "exec.interactiveMode: it is missing",
    ),
    Row(
        "plugin with an unknown mode",
        "clientcmd/validation.go validateAuthInfo",
        kubeconfig(
            user={
                "exec": {
                    "command": "a",
                    "apiVersion": "client.authentication.k8s.io/v1beta1",
                    "interactiveMode": "never",
                }
            }
        ),
        "exec.interactiveMode: 'never' is not one of",
    ),
    Row(
        "plugin with a variable of no name",
        "clientcmd/validation.go validateAuthInfo",
        kubeconfig(
            user={
                "exec": {
                    "command": "a",
                    "apiVersion": "client.authentication.k8s.io/v1beta1",
                    "env": [{"value": CANARY}],
                }
            }
        ),
        r"exec.env\[0\].name: '' is not a name of a variable",
    ),
]


@pytest.fixture(autouse=True)
def no_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "x").mkdir()
    PluginProgram(tmp_path).gives(token=CANARY)
    return tmp_path


def written(folder: Path, given: object, name: str = "kubeconfig") -> Path:
    path = folder / name
    path.write_bytes(given if isinstance(given, bytes) else text(given))
    return path


@pytest.mark.parametrize("row", GOOD, ids=lambda row: row.name)
def test_kubeconfig_that_client_go_takes_leads_to_the_same_server(row: Row, folder: Path) -> None:
    target = find_target(written(folder, row.given), row.master)
    assert row.wanted == seen(target, set(row.wanted))
    assert CANARY not in repr(target)


@pytest.mark.parametrize("row", BAD, ids=lambda row: row.name)
def test_kubeconfig_that_client_go_refuses_is_refused_with_its_place(row: Row, folder: Path) -> None:
    path = written(folder, row.given)
    with pytest.raises(InputError, match=f"the kubeconfig {path} cannot be used: .*{row.wanted}") as refused:
        find_target(path, row.master)
    assert CANARY not in str(refused.value)
    assert str(refused.value).isprintable()


def named_server(folder: Path, name: str, server: str, **top: object) -> Path:
    """A file whose cluster, user and context have this name. Its token is the name."""
    given = {
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority": "ca.crt"}}],
        "users": [{"name": name, "user": {"token": name}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        **{key.replace("_", "-"): value for key, value in top.items()},
    }
    (folder / name).mkdir()
    (folder / name / "ca.crt").write_bytes(AUTHORITY)
    return written(folder / name, given, "config")


def listed(*paths: object) -> Path:
    return Path(":".join(map(str, paths)))


def test_list_of_files_uses_the_first_current_context(folder: Path) -> None:
    one = named_server(folder, "one", "https://one")
    two = named_server(folder, "two", "https://two", current_context="two")
    three = named_server(folder, "three", "https://three", current_context="three")
    target = find_target(listed(one, two, three), "")
    assert ("https://two", {"Authorization": "Bearer two"}) == (target.server, target.credentials.headers())
    assert f"the kubeconfig {one}:{two}:{three}" == target.origin


def test_list_of_files_joins_parts_of_several_files(folder: Path) -> None:
    parts = [
        written(folder, {part: kubeconfig()[part]}, part)
        for part in ("clusters", "users", "contexts", "current-context")
    ]
    target = find_target(listed(*parts), "")
    assert (SERVER, BEARER) == (target.server, target.credentials.headers())


def test_list_of_files_takes_each_entry_whole_from_one_file(folder: Path) -> None:
    """clientcmd/loader_test.go TestConflictingCurrentContext: later files add no field to an entry."""
    bare = written(folder, {"clusters": [{"name": "home", "cluster": {"server": "https://first"}}]}, "bare")
    full = written(folder, kubeconfig({"insecure-skip-tls-verify": True}))
    target = find_target(listed(bare, full), "")
    assert ("https://first", True) == (target.server, bool(target.tls and target.tls.is_verified))


def test_list_of_files_resolves_paths_from_the_directory_of_each_file(folder: Path) -> None:
    one = named_server(folder, "one", "https://one")
    two = named_server(folder, "two", "https://two", current_context="two")
    (folder / "one" / "ca.crt").unlink()
    target = find_target(listed(one, two), "")
    assert AUTHORITY == (target.tls and target.tls.authority)


def test_list_of_files_ignores_missing_and_empty_names(folder: Path) -> None:
    path = written(folder, kubeconfig())
    for given in (f":{path}", f"{path}:", f"{folder}/missing:{path}", f"{path}::{path}"):
        assert SERVER == find_target(Path(given), "").server


def test_list_of_files_with_a_wrong_file_is_refused(folder: Path) -> None:
    path, wrong = written(folder, kubeconfig()), written(folder, b"users: 7", "wrong")
    with pytest.raises(InputError, match=f"the kubeconfig {wrong} cannot be used: users: a list is expected"):
        find_target(listed(path, wrong), "")


def test_list_of_files_names_the_file_of_each_entry(folder: Path) -> None:
    one = named_server(folder, "one", "https://one")
    two = named_server(folder, "two", "ftp://two", current_context="two")
    with pytest.raises(
        InputError, match=rf"cannot be used: {two}: clusters\[0\] 'two': server: it does not begin"
    ):
        find_target(listed(one, two), "")


def test_list_longer_than_the_longest_path_is_read_as_a_list(folder: Path) -> None:
    missing = [folder / f"{number:0100}" for number in range(60)]
    assert SERVER == find_target(listed(*missing, written(folder, kubeconfig())), "").server


def test_list_of_missing_files_is_reported_by_its_name(folder: Path) -> None:
    with pytest.raises(
        InputError, match=f"the kubeconfig {folder}/a:{folder}/b does not exist; name an existing file"
    ):
        find_target(listed(folder / "a", folder / "b"), "")


def test_file_with_a_colon_in_its_name_is_one_file(folder: Path) -> None:
    assert SERVER == find_target(written(folder, kubeconfig(), "a:b"), "").server


def test_relative_kubeconfig_is_relative_to_the_current_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(folder, kubeconfig({"certificate-authority": "../ca.crt"}), "x/kubeconfig")
    monkeypatch.chdir(folder / "x")
    target = find_target(Path("kubeconfig"), "")
    assert AUTHORITY == (target.tls and target.tls.authority)


def test_symbolic_link_does_not_move_relative_paths(folder: Path) -> None:
    """clientcmd/loader.go ResolveLocalPaths uses the directory of the given name, not that of the link's target."""
    (folder / "link").symlink_to(
        written(folder, kubeconfig({"certificate-authority": "ca.crt"}), "x/kubeconfig")
    )
    target = find_target(folder / "link", "")
    assert AUTHORITY == (target.tls and target.tls.authority)


@pytest.mark.parametrize(
    ("server", "user", "addition"),
    [
        ("http://h", {"token": CANARY}, " (whose credentials are not sent without TLS)"),
        ("http://me@h", {}, " (whose credentials are not sent without TLS)"),
        ("http://h", {}, ""),
        ("https://h", {"token": CANARY}, ""),
    ],
)
def test_server_without_tls_is_reported_if_credentials_are_not_sent(
    folder: Path, server: str, user: dict[str, str], addition: str
) -> None:
    path = written(folder, kubeconfig({"server": server}, user))
    assert f"the kubeconfig {path}{addition}" == find_target(path, "").origin


def test_missing_kubeconfig_is_named(folder: Path) -> None:
    with pytest.raises(InputError, match=f"the kubeconfig {folder}/missing does not exist"):
        find_target(folder / "missing", "")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (".", "it is a directory"),
        ("token/kubeconfig", "Not a directory"),
        ("loop", "Too many levels of symbolic links"),
        ("/dev/zero", "it is larger than 16 MB"),
        ("n" * 300, "File name too long"),
        ("a\0b", "no file can have this name"),
    ],
)
def test_unreadable_kubeconfig_says_why(folder: Path, name: str, reason: str) -> None:
    (folder / "loop").symlink_to("loop")
    with pytest.raises(
        InputError, match=f"cannot be used: it cannot be read: {reason}; name a readable file"
    ):
        find_target(folder / name, "")


def test_pipe_with_content_is_read(folder: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, text(kubeconfig()))
    threading.Timer(0.05, os.close, (writing,)).start()
    assert SERVER == find_target(Path(f"/dev/fd/{reading}"), "").server
    os.close(reading)


def test_pipe_without_end_is_abandoned(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kproxy.client.files._LONGEST_WAIT_S", 0.05)
    os.mkfifo(folder / "pipe")
    writing = os.open(folder / "pipe", os.O_RDWR)
    with pytest.raises(InputError, match=r"its end has not come within 0.05 s"):
        find_target(folder / "pipe", "")
    os.close(writing)


def test_pipe_without_end_is_abandoned_when_this_process_ends(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(folder / "pipe")
    ending = threading.Event()
    monkeypatch.setattr("kproxy.process.asking._ending", ending)
    threading.Timer(0.1, ending.set).start()
    with pytest.raises(InputError, match=r"kproxy is ending"):
        find_target(folder / "pipe", "")


@pytest.fixture
def pod(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The service account's directory of a test pod, with a token and an authority."""
    from kubernetes.config import incluster_config

    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(folder / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(folder / "ca.crt"))
    return folder


def test_pod_leads_to_its_server(pod: Path) -> None:
    wanted = {
        "server": "https://10.96.0.1:443",
        "authority": AUTHORITY,
        "is_verified": True,
        "headers": BEARER,
        "origin": "the pod's service account",
    }
    assert wanted == seen(find_target(None, ""), set(wanted))


def test_pod_with_an_ipv6_server_has_it_in_brackets(pod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    assert "https://[fd00::1]:443" == find_target(None, "").server


def test_pod_with_a_renewed_token_sends_the_new_one(pod: Path) -> None:
    credentials = find_target(None, "").credentials
    assert BEARER == credentials.headers()
    (pod / "token").write_text("renewed")
    assert {"Authorization": "Bearer renewed"} == credentials.headers()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        (b"", "it holds no certificate"),
        (b"x", "it holds no certificate"),
    ],
)
def test_pod_without_an_authority_trusts_those_of_the_system(
    pod: Path, caplog: pytest.LogCaptureFixture, content: bytes | None, reason: str
) -> None:
    """rest/config.go InClusterConfig logs the missing authority and continues."""
    (pod / "ca.crt").unlink()
    if content is not None:
        (pod / "ca.crt").write_bytes(content)
    target = find_target(None, "")
    assert (None, True) == (target.tls and target.tls.authority, bool(target.tls and target.tls.is_verified))
    assert f"the pod's service account: {pod}/ca.crt: {reason}" in caplog.text


@pytest.mark.parametrize("content", [None, b""])
def test_pod_without_a_token_is_told_to_mount_it(pod: Path, content: bytes | None) -> None:
    (pod / "token").unlink()
    if content is not None:
        (pod / "token").write_bytes(content)
    with pytest.raises(EnvironmentLacking, match="automountServiceAccountToken"):
        find_target(None, "")


@pytest.mark.parametrize("name", ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"])
def test_pod_without_its_variables_is_not_a_pod(
    pod: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "")
    with pytest.raises(EnvironmentLacking, match=r"this is not a pod .* name a kubeconfig with --kubeconfig"):
        find_target(None, "")


def test_pod_with_an_empty_kubeconfig_is_used(pod: Path) -> None:
    """clientcmd/merged_client_builder.go ClientConfig, IsEmptyConfig and Possible."""
    assert "https://10.96.0.1:443" == find_target(written(pod, b"# nothing"), "").server


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"current-context": "nosuch"}, "there is no context 'nosuch'"),
        ({"clusters": [{"name": "home"}]}, "current-context: it is missing"),
        ({"users": [{"name": "admin"}]}, "current-context: it is missing"),
        ({"contexts": [{"name": "here"}]}, "current-context: it is missing"),
        ({"users": 7}, "users: a list is expected"),
    ],
)
def test_pod_with_a_wrong_kubeconfig_is_not_used(pod: Path, given: object, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        find_target(written(pod, given), "")


def test_pod_with_master_alone_sends_no_token(pod: Path) -> None:
    """clientcmd/merged_client_builder.go ClientConfig: without a kubeconfig there are no credentials."""
    target = find_target(None, "https://other:1")
    assert ("https://other:1", NOBODY, "--master") == (
        target.server,
        target.credentials.headers(),
        target.origin,
    )


def test_master_alone_without_a_scheme_has_no_tls() -> None:
    target = find_target(None, "10.0.0.1:8080")
    assert ("http://10.0.0.1:8080", None) == (target.server, target.tls)


def test_master_alone_with_a_password_does_not_show_it() -> None:
    target = find_target(None, f"https://me:{CANARY}@h:1")
    assert "https://h:1" == target.server
    with pytest.raises(
        InputError, match=r"^--master: its host has characters that no host name has"
    ) as refused:
        find_target(None, f"https://me:{CANARY}@h {CANARY}")
    assert CANARY not in str(refused.value)


def test_user_and_password_of_master_are_sent_with_tls() -> None:
    """net/http Client.send: a URL's user and password are sent unless a header has credentials."""
    assert BASIC == find_target(None, f"https://me:{CANARY}@h:1").credentials.headers()
    assert NOBODY == find_target(None, f"http://me:{CANARY}@h:1").credentials.headers()


def test_plugin_gets_the_cluster_that_it_asks_for(folder: Path) -> None:
    """rest/exec.go ConfigToExecCluster, with the cluster's extension named client.authentication.k8s.io/exec."""
    PluginProgram(folder).does(
        f'printf %s "$KUBERNETES_EXEC_INFO" > {folder}/info\n'
        f"""printf %s '{{"apiVersion": "{V1}", "kind": "ExecCredential", "status": {{"token": "{CANARY}"}}}}'"""
    )
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "here", "n": 7}}
    cluster = {
        **CA,
        "tls-server-name": "kubernetes",
        "proxy-url": "http://p:3128",
        "disable-compression": True,
        "extensions": [None, {"name": "other", "extension": None}, extension],
    }
    given = kubeconfig(cluster, {"exec": {**PLUGIN, "provideClusterInfo": True}})
    assert BEARER == find_target(written(folder, given), "").credentials.headers()
    wanted = {
        "server": SERVER,
        "tls-server-name": "kubernetes",
        "certificate-authority-data": packed(AUTHORITY),
        "proxy-url": "http://p:3128",
        "disable-compression": True,
        "config": {"audience": "here", "n": 7},
    }
    assert wanted == json.loads((folder / "info").read_text())["spec"]["cluster"]


def test_plugin_gets_its_arguments_and_environment(folder: Path) -> None:
    PluginProgram(folder).does(
        f"""printf '%s|' "$#" "$@" "$ONE" "$TWO" "$KUBERNETES_EXEC_INFO" > {folder}/seen"""
    )
    plugin = {
        **PLUGIN,
        "args": ["a b", None, "c"],
        "env": [{"name": "ONE", "value": "1"}, {"name": "TWO"}],
        "provideClusterInfo": True,
    }
    with pytest.raises(EnvironmentLacking):
        find_target(written(folder, kubeconfig(user={"exec": plugin})), "").credentials.headers()
    *given, info, _ = (folder / "seen").read_text().split("|")
    assert ["3", "a b", "", "c", "1", ""] == given
    assert SERVER == json.loads(info)["spec"]["cluster"]["server"]
    assert "certificate-authority-data" not in json.loads(info)["spec"]["cluster"]


@pytest.mark.parametrize(
    ("user", "reason"),
    [
        (
            {
                "client-certificate-data": packed(CERTIFICATE),
                "client-key-data": packed(OTHER_PAIR.key.encode()),
            },
            "client",
        ),
        ({"client-certificate-data": packed(CANARY.encode()), "client-key-data": packed(KEY)}, "client"),
        (
            {"client-certificate-data": packed(CERTIFICATE), "client-key-data": packed(CANARY.encode())},
            "client",
        ),
        ({"client-certificate": "client.crt", "client-key": "missing"}, "missing"),
        ({"client-certificate": "client.crt", "client-key": "x"}, "x"),
    ],
    ids=["not of one pair", "bad certificate", "bad key", "missing key", "directory as a key"],
)
def test_certificate_that_cannot_be_used_is_reported_before_a_request(
    folder: Path, user: dict[str, str], reason: str
) -> None:
    path = written(folder, kubeconfig(user=user))
    with pytest.raises(KproxyError, match=reason) as refused:
        find_target(path, "").credentials.certificate()
    assert str(path) in str(refused.value)
    assert CANARY not in str(refused.value)
    assert PAIR.key.splitlines()[1] not in str(refused.value)


@pytest.mark.parametrize("shown", [repr, str, pretty_repr], ids=["repr", "str", "rich"])
def test_fields_of_a_kubeconfig_show_no_secret(folder: Path, shown: Callable[[object], str]) -> None:
    user = {
        "token": CANARY,
        "password": CANARY,
        "client-key-data": packed(CANARY.encode()),
        "exec": {"env": [{"name": "A", "value": CANARY}], "args": [CANARY]},
        "auth-provider": {"config": {"a": CANARY}},
    }
    loaded = load_kubeconfig(written(folder, kubeconfig({"proxy-url": f"http://a:{CANARY}@p"}, user)))
    entry = loaded.users["admin"].value
    for thing in (
        loaded,
        entry,
        entry.exec,
        entry.exec.env[0] if entry.exec else None,
        entry.client_key_data,
    ):
        said = shown(thing)
        assert CANARY not in said
        assert "S3cr3t" not in said


def test_kubeconfig_is_read_without_the_kubernetes_package(folder: Path) -> None:
    """The import of that package takes half a second and 16 MB."""
    path = written(folder, kubeconfig(CA))
    program = (
        "import pathlib, sys; from kproxy.client.connection import connect; "
        f"connect(pathlib.Path({str(path)!r})); print('kubernetes' in sys.modules)"
    )
    assert (
        "False\n"
        == subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    )
