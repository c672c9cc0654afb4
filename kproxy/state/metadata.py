"""The metadata that all kinds share: the key, and the labels with which an object opts out of this proxy."""

from collections.abc import Callable, Mapping

from kproxy.state import validate, wire
from kproxy.values import NamespacedName

PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"


def key_of(metadata: wire.Metadata, name_rule: Callable[[str, str], str]) -> NamespacedName:
    """The key of a namespaced object; its name must keep `name_rule`."""
    return NamespacedName(
        validate.dns_label(metadata.namespace or "", "metadata.namespace"),
        name_rule(metadata.name, "metadata.name"),
    )


def sorted_pairs(labels: Mapping[str, str | None] | None) -> tuple[tuple[str, str], ...]:
    """Labels, or a selector of labels, sorted so that equal sets compare equal."""
    return tuple(sorted((name, value or "") for name, value in (labels or {}).items()))


def opt_out_label(metadata: wire.Metadata, *labels: str) -> str:
    """The first of the labels that is present, with any value; otherwise empty."""
    present = metadata.labels
    if not present:
        return ""
    return next((label for label in labels if label in present), "")
