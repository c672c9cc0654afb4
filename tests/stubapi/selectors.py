"""Label and field selectors, in the forms that a service proxy uses."""

from stubapi.storage import Matches, Object


def selector(labels: str, fields: str) -> Matches:
    """Whether an object matches; NotImplementedError for a form that the stub does not know."""
    wanted, unwanted = _existence(labels)
    name = _metadata_name(fields)

    def matches(manifest: Object) -> bool:
        metadata = manifest["metadata"]
        present = set(metadata.get("labels") or {})
        return wanted <= present and not unwanted & present and name in ("", metadata["name"])

    return matches


def _existence(labels: str) -> tuple[set[str], set[str]]:
    terms = set(filter(None, labels.split(",")))
    if any(sign in labels for sign in "= ("):
        raise NotImplementedError(f"labelSelector {labels!r}")
    unwanted = {term for term in terms if term.startswith("!")}
    return terms - unwanted, {term[1:] for term in unwanted}


def _metadata_name(fields: str) -> str:
    path, _, name = fields.partition("=")
    if path not in ("", "metadata.name"):
        raise NotImplementedError(f"fieldSelector {fields!r}")
    return name
