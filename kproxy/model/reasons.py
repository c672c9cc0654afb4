"""Why this node uses an endpoint, or does not: one word and one sentence for each decision about endpoints.

`topology.py` decides by readiness, hints and place, `endpoints.py` by slice and copy. The lists of usable backends
hold exactly the endpoints whose reason `is_used`, so an explanation cannot say anything else than the rules do.
"""

from enum import Enum


class Reason(Enum):
    """`sentence` is its end of a sentence such as "10.128.1.5:8080 is not used: it is not ready".

    `is_used` is the decision.
    """

    READY = ("it is ready", True)
    HINTED_FOR_NODE = ("it is ready, and its hints name this node", True)
    HINTED_FOR_ZONE = ("it is ready, and its hints name the zone of this node", True)
    TERMINATING_BUT_NEEDED = (
        "it is terminating but still serves, and no endpoint that this policy allows is ready",
        True,
    )

    NOT_READY = ("it is not ready", False)
    TERMINATING = ("it is terminating and no longer serves", False)
    TERMINATING_AND_REPLACEABLE = (
        "it is terminating, and an endpoint that this policy allows is ready",
        False,
    )
    HINTED_FOR_OTHER_NODE = (
        "its hints name other nodes, and a ready endpoint has a hint for this node",
        False,
    )
    HINTED_FOR_OTHER_ZONE = (
        "its hints name other zones, and a ready endpoint has a hint for the zone of this node",
        False,
    )
    NOT_ON_THIS_NODE = ("it is not on this node, and the policy is Local", False)
    POLICY_NOT_FOLLOWED = ("no traffic to the service port follows this policy", False)

    DUPLICATE = ("its address and port are listed again, and the other copy counts", False)
    PORT_NOT_LISTED = ("its EndpointSlice has no port of this name and protocol", False)
    OTHER_FAMILY = ("its EndpointSlice is of the other IP family", False)
    SLICE_OPTED_OUT = ("a label of its EndpointSlice asks for another proxy, or for none", False)

    def __init__(self, sentence: str, is_used: bool) -> None:
        self.sentence = sentence
        self.is_used = is_used
