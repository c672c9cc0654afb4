"""Requests of one loop, which another thread may end."""

import time
from contextlib import suppress
from pathlib import Path

from kproxy.client.connection import connect
from kproxy.errors import ApiFailed
from kproxy.sources.asker import Asker
from kproxy.sources.freshness import Times
from kproxy.sources.kube import SERVICES
from stubapi import StubApi

TIMEOUT_S = 20.0


def test_answer_that_begins_after_the_end_was_asked_for_is_severed(tmp_path: Path) -> None:
    with StubApi() as api:
        kubeconfig = api.write_kubeconfig(tmp_path / "kubeconfig")
        asker = Asker(SERVICES, lambda: connect(kubeconfig), lambda _: None, Times(time.monotonic))
        with asker.get({}, TIMEOUT_S) as listed:
            version = listed.encoding.page(listed.body(1 << 20)).resource_version
        asker.sever()
        began_at = time.monotonic()
        watch = {"watch": "true", "timeoutSeconds": "30", "resourceVersion": version}
        with asker.get(watch, TIMEOUT_S) as answer, suppress(ApiFailed):
            list(answer.chunks())
        asker.close()
    assert time.monotonic() - began_at < TIMEOUT_S / 2
