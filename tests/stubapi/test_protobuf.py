"""The stub's protobuf is the real server's: its recorded JSON, encoded by the stub, gives the recorded bytes."""

import gzip
import json
import ssl
from http.client import HTTPSConnection

import pytest

from kproxy.state.encodings import PROTOBUF
from stubapi import StubApi, protobuf
from stubapi.manifests import service
from stubapi.recordings import recorded

LISTS = ("services-list", "endpointslices-list", "nodes-list", "servicecidrs-list")


@pytest.mark.parametrize("name", LISTS)
def test_list_is_encoded_to_the_bytes_of_a_real_server(name: str) -> None:
    said = json.loads(recorded(f"{name}-json").body)
    assert recorded(f"{name}-protobuf").body == protobuf.body(said)


def test_refusal_in_a_stream_is_encoded_to_the_bytes_of_a_real_server() -> None:
    said = json.loads(recorded("services-watchlist-json").body)
    assert recorded("services-watchlist-protobuf").body == protobuf.frame(said["type"], said["object"])


@pytest.mark.parametrize(("services", "encoding"), [(3, None), (1_000, "gzip")])
def test_long_list_is_compressed_for_those_who_ask(services: int, encoding: str | None) -> None:
    with StubApi(speaks_protobuf=True) as api:
        for number in range(services):
            api.put("Service", service(f"s{number}"))
        context = ssl.create_default_context(cadata=api.authority.decode())
        connection = HTTPSConnection(*api.address, context=context)
        headers = {
            "Authorization": f"Bearer {api.token}",
            "Accept": "application/vnd.kubernetes.protobuf, */*",
            "Accept-Encoding": "gzip",
        }
        connection.request("GET", "/api/v1/services", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
    assert encoding == answer.getheader("Content-Encoding")
    assert services == len(PROTOBUF.page(gzip.decompress(body) if encoding else body).items)


def test_object_of_other_types_is_none_that_a_server_stores() -> None:
    bad = service("bad")
    bad["spec"]["ports"] = "http"
    with pytest.raises(protobuf.UnencodableError):
        protobuf.body(bad)
