"""Kubeconfigs as data: one sound one, with whatever is put in the place of its parts."""

import base64
import json
from typing import Any

SERVER = "https://api.example:6443"
CANARY = "c4n4ry-S3cr3t"
"""A secret that nothing may print."""


def kubeconfig(
    cluster: object = None, user: object = None, *, context: object = None, **top: object
) -> dict[str, Any]:
    """Fields beside the server and in place of the user's token, and top-level fields with `_` for `-`."""
    fields = cluster if cluster is not None else {}
    default_cluster = {"server": SERVER, **fields} if isinstance(fields, dict) else fields
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "home", "cluster": default_cluster}],
        "users": [{"name": "admin", "user": {"token": CANARY} if user is None else user}],
        "contexts": [
            {"name": "here", "context": {"cluster": "home", "user": "admin"} if context is None else context}
        ],
        **{name.replace("_", "-"): value for name, value in top.items()},
    }


def text(data: object) -> bytes:
    """JSON, which is YAML too."""
    return json.dumps(data).encode()


def packed(data: bytes) -> str:
    return base64.b64encode(data).decode()
