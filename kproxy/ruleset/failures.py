"""Services whose rules cannot be computed: the place and the reason, in words."""

from kproxy.errors import InvalidField, KproxyError
from kproxy.values import Family


def place_of(family: Family) -> str:
    """The place that is named for a Service whose objects are good, but whose rules cannot be computed."""
    return f"{family} rules"


def why(failed: Exception) -> tuple[str, str]:
    """The field, which may be empty, and the reason in one line."""
    if isinstance(failed, InvalidField):
        return failed.field, failed.reason
    if isinstance(failed, KproxyError):
        return "", " ".join(str(failed).split())
    return "", f"a defect in kproxy: {failed!r}"
