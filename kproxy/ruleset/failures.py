"""Services whose rules cannot be computed: where, and why, in words."""

from kproxy.errors import InvalidField, KproxyError
from kproxy.values import Family


def place_of(family: Family) -> str:
    """Where a Service is rejected whose objects are good."""
    return f"{family} rules"


def why(failed: Exception) -> tuple[str, str]:
    """The field and the reason, in one line, for which rules cannot be computed."""
    if isinstance(failed, InvalidField):
        return failed.field, failed.reason
    if isinstance(failed, KproxyError):
        return "", " ".join(str(failed).split())
    return "", f"a defect in kproxy: {failed!r}"
