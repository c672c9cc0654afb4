"""The stub's protobuf is the real server's: its recorded JSON, encoded by the stub, gives the recorded bytes."""

import json

import pytest

from stubapi import protobuf
from stubapi.recordings import recorded

LISTS = ("services-list", "endpointslices-list", "nodes-list", "servicecidrs-list")


@pytest.mark.parametrize("name", LISTS)
def test_list_is_encoded_to_the_bytes_of_a_real_server(name: str) -> None:
    said = json.loads(recorded(f"{name}-json").body)
    assert recorded(f"{name}-protobuf").body == protobuf.body(said)


def test_refusal_in_a_stream_is_encoded_to_the_bytes_of_a_real_server() -> None:
    said = json.loads(recorded("services-watchlist-json").body)
    assert recorded("services-watchlist-protobuf").body == protobuf.frame(said["type"], said["object"])
