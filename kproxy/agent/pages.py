"""The pages of the metrics server."""

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime

from kproxy.agent.about import EMULATED, own_version
from kproxy.agent.web import TEXT, Answer, Page
from kproxy.configuration import Configuration
from kproxy.configuration.encode import encode_configuration
from kproxy.configuration.flags import configuration_to_flags

_GROUP = "kubeproxy.config.k8s.io"


def metrics_pages(
    configuration: Configuration, metrics: Callable[[], Page], quarantine: Callable[[], Page]
) -> Answer:
    """Everything but the metrics and the quarantine is about how the agent was started."""
    began_at = time.time()
    pages: dict[str, Callable[[], Page]] = {
        "/healthz": lambda: Page("ok", content_type=TEXT),
        "/proxyMode": lambda: Page(str(configuration.mode), content_type=TEXT),
        "/configz": lambda: Page(json.dumps({_GROUP: encode_configuration(configuration)})),
        "/flagz": lambda: Page(_flags(configuration), content_type=TEXT),
        "/metrics": metrics,
        "/debug/quarantine": quarantine,
    }
    pages["/statusz"] = lambda: Page(_status(began_at, sorted(pages)), content_type=TEXT)
    return lambda path: pages[path]() if path in pages else None


def _flags(configuration: Configuration) -> str:
    lines = (f"{flag}={value}" for flag, value in sorted(configuration_to_flags(configuration).items()))
    return "\nkproxy flags\nWarning: This endpoint is not meant to be machine parseable.\n\n" + "".join(
        f"{line}\n" for line in lines
    )


def _status(began_at: float, paths: list[str]) -> str:
    started = datetime.fromtimestamp(began_at, UTC)
    up_s = int(time.time() - began_at)
    return (
        "\nkproxy statusz\nWarning: This endpoint is not meant to be machine parseable.\n\n"
        f"Started: {started:%a %b %d %H:%M:%S UTC %Y}\n"
        f"Up: {up_s // 3600} hr {up_s // 60 % 60:02} min {up_s % 60:02} sec\n"
        f"Binary version: {own_version()}\n"
        f"Emulation version: {EMULATED}\n"
        f"Process: {os.getpid()}\n"
        f"Paths: {' '.join(paths)}\n"
    )
