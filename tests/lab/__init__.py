"""A node with pods, a neighbour and a client, in network namespaces joined by veth: `Lab`."""

from lab.topology import CLIENT, NODE, Lab

__all__ = ["CLIENT", "NODE", "Lab"]
