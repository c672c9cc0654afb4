"""The listing of our table by `nft`, in a form in which equal tables are equal."""

import json
from typing import Any

from kproxy import process
from kproxy.values import Family


def listing(family: Family) -> dict[str, Any]:
    """Everything in the table but handles and remembered clients; elements in any order, rules in theirs."""
    text = process.run(["nft", "-j", "list", "table", "ip" if family is Family.IPV4 else "ip6", "kproxy"])
    found: dict[str, Any] = {}
    for thing in json.loads(text)["nftables"]:
        ((kind, about),) = thing.items()
        about.pop("handle", None)
        if kind == "rule":
            found.setdefault(f"rules of {about['chain']}", []).append(about["expr"])
        elif kind != "metainfo":
            elements = about.pop("elem", ())
            about["elements"] = (
                [] if about["name"].startswith("affinity/") else sorted(map(json.dumps, elements))
            )
            found[f"{kind} {about['name']}"] = about
    return found
