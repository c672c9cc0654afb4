"""The pages of the metrics server, all of them: a new page is a line in `pages`, and a function that makes it."""

import json
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from kproxy.agent.http.page import TEXT, Answer, Negotiated, Page
from kproxy.agent.metrics.build_info import EMULATED, own_version
from kproxy.agent.pages.zpages import zpage
from kproxy.configuration import Configuration
from kproxy.configuration.encode import encode_configuration
from kproxy.state.printable import printable

_GROUP = "kubeproxy.config.k8s.io"
_FOR_PEOPLE = "Warning: This endpoint is not meant to be machine parseable."


def metrics_pages(
    configuration: Configuration,
    flags: Mapping[str, str],
    metrics: Callable[[], Page],
    quarantine: Callable[[], Page],
) -> Answer:
    """The answer to each path. All pages except `metrics` and `quarantine` say how the agent was started."""
    began_at = datetime.now(UTC)
    clock = time.monotonic
    began = clock()
    pages: dict[str, Callable[[], Page | Negotiated]] = {
        "/healthz": lambda: Page("ok", content_type=TEXT),
        "/proxyMode": lambda: Page(str(configuration.mode), content_type=TEXT),
        "/configz": lambda: Page(json.dumps({_GROUP: encode_configuration(configuration)})),
        "/flagz": lambda: _flagz(flags),
        "/metrics": metrics,
        "/debug/quarantine": quarantine,
    }
    pages["/statusz"] = lambda: _statusz(began_at, int(clock() - began), sorted(pages))
    return lambda path: pages[path]() if path in pages else None


def _flagz(flags: Mapping[str, str]) -> Negotiated:
    def text() -> str:
        lines = "".join(f"{flag}={printable(value)}\n" for flag, value in sorted(flags.items()))
        return f"\nkproxy flagz\n{_FOR_PEOPLE}\n\n{lines}"

    return zpage("Flagz", text, lambda: {"flags": flags})


def _statusz(began_at: datetime, up_s: int, paths: list[str]) -> Negotiated:
    """The page of kube-proxy without the version of Go."""

    def text() -> str:
        return (
            f"\nkproxy statusz\n{_FOR_PEOPLE}\n\n"
            f"Started: {began_at:%a %b %d %H:%M:%S UTC %Y}\n"
            f"Up: {up_s // 3600} hr {up_s // 60 % 60:02} min {up_s % 60:02} sec\n"
            f"Binary version: {own_version()}\n"
            f"Emulation version: {EMULATED}\n"
            f"Process: {os.getpid()}\n"
            f"Paths: {' '.join(paths)}\n"
        )

    def fields() -> dict[str, object]:
        return {
            "startTime": f"{began_at:%Y-%m-%dT%H:%M:%SZ}",
            "uptimeSeconds": up_s,
            "binaryVersion": own_version(),
            "emulationVersion": EMULATED,
            "paths": paths,
        }

    return zpage("Statusz", text, fields)
