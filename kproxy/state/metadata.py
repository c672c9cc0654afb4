"""What every kind says about itself in the same place: its key, and labels that turn proxies away."""

from collections.abc import Callable, Mapping

from kproxy.state import validate, wire
from kproxy.values import NamespacedName

PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"


def key_of(metadata: wire.Metadata, name_rule: Callable[[str, str], str]) -> NamespacedName:
    """The key of a namespaced object, whose name keeps `name_rule`."""
    return NamespacedName(
        validate.dns_label(metadata.namespace or "", "metadata.namespace"),
        name_rule(metadata.name, "metadata.name"),
    )


def sorted_pairs(labels: Mapping[str, str | None] | None) -> tuple[tuple[str, str], ...]:
    """Labels, or a selector of labels, so that two that say the same are equal."""
    return tuple(sorted((name, value or "") for name, value in (labels or {}).items()))


def opt_out_label(metadata: wire.Metadata, *labels: str) -> str:
    """The first of the labels that is present, with whatever value; or empty."""
    present = metadata.labels
    if not present:
        return ""
    return next((label for label in labels if label in present), "")
