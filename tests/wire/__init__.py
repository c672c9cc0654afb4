"""A node whose links end in the test process, so that the kernel can be asked about any packet: `Wire`."""

from wire.harness import LOCAL, BrokenConversation, Conversation, Seen, Wire
from wire.headers import How
from wire.node import LOCAL_PODS, OTHER_NODES, OUTSIDE, Link

__all__ = [
    "LOCAL",
    "LOCAL_PODS",
    "OTHER_NODES",
    "OUTSIDE",
    "BrokenConversation",
    "Conversation",
    "How",
    "Link",
    "Seen",
    "Wire",
]
