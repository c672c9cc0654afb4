"""A parser reads deep JSON by itself while a list is read, and at no other time."""

import json
import subprocess
import sys
import threading

import pytest

from answers import answer
from kproxy.errors import Malformed
from kproxy.sources.depth import DEEPEST_LEVEL, room_for_depth
from kproxy.sources.kube import SERVICES
from kproxy.sources.listing import list_resource
from kproxy.state import decode as decoder_of_objects
from kproxy.state.decode import decode
from kproxy.state.encodings.as_json import JSON
from kproxy.state.objects import Kind
from stubapi.manifests import service


def nested(levels: int) -> str:
    return '{"f:a":' * levels + "{}" + "}" * levels


def page(*items: str) -> bytes:
    return f'{{"metadata":{{"resourceVersion":"7"}},"items":[{",".join(items)}]}}'.encode()


def deep_service(name: str, levels: int) -> str:
    fields = [{"manager": "tenant", "fieldsV1": "HERE"}]
    return json.dumps(service(name, managedFields=fields)).replace('"HERE"', nested(levels))


@pytest.mark.parametrize("levels", [10, 1_000, 3_000])
def test_list_of_deep_objects_is_parsed_without_cutting_depths(
    levels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(text: bytes) -> bytes:
        raise AssertionError(f"{len(text)} bytes were scanned")

    monkeypatch.setattr(decoder_of_objects, "without_deep_parts", never)
    listed, _ = list_resource(lambda _: answer(page(deep_service("web", levels))), SERVICES, 500)
    assert (decode(Kind.SERVICE, json.dumps(service("web")).encode()),) == listed.objects


def test_object_deeper_than_the_room_is_still_used() -> None:
    items = [deep_service("deep", 50_000), json.dumps(service("web"))]
    listed, _ = list_resource(lambda _: answer(page(*items)), SERVICES, 500)
    assert ["deep", "web"] == [thing.key.name for thing in listed.objects]


def test_deepest_page_of_an_api_server_is_parsed_with_a_megabyte_of_stack() -> None:
    """A thread has eight megabytes unless somebody limits it."""
    found: list[int] = []

    def parse() -> None:
        with room_for_depth:
            found.append(len(JSON.page(page(nested(DEEPEST_LEVEL))).items))

    usual = threading.stack_size(1 << 20)
    try:
        thread = threading.Thread(target=parse)
        thread.start()
    finally:
        threading.stack_size(usual)
    thread.join()
    assert [1] == found


PARSED_IN_A_THREAD = f"""
import threading
from kproxy.sources.depth import room_for_depth
from kproxy.state.encodings.as_json import JSON

def parse():
    with room_for_depth:
        print(len(JSON.page(b'{{"metadata":{{}},"items":[' + b"[" * {DEEPEST_LEVEL} + b"]" * {DEEPEST_LEVEL} + b"]}}").items))

thread = threading.Thread(target=parse)
thread.start()
thread.join()
"""


@pytest.mark.parametrize("stack_kb", [256, 2_048])
def test_deepest_page_does_not_end_a_process_with_small_stacks(stack_kb: int) -> None:
    command = ["prlimit", f"--stack={stack_kb << 10}", sys.executable, "-c", PARSED_IN_A_THREAD]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (0, "1\n") == (ended.returncode, ended.stdout), ended.stderr


def test_recursion_limit_is_restored_after_the_last_of_several_users() -> None:
    usual = sys.getrecursionlimit()
    with room_for_depth:
        with room_for_depth:
            raised = sys.getrecursionlimit()
        assert raised == sys.getrecursionlimit() > DEEPEST_LEVEL
    assert usual == sys.getrecursionlimit()


def test_recursion_limit_is_restored_after_a_page_that_cannot_be_parsed() -> None:
    usual = sys.getrecursionlimit()
    with pytest.raises(Malformed), room_for_depth:
        JSON.page(b"{")
    assert usual == sys.getrecursionlimit()
