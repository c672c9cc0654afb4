"""The least that changes in the dispatch chains when a Service comes or goes."""

from collections.abc import Mapping
from typing import NamedTuple

from kproxy.ruleset.chain import Chain
from kproxy.ruleset.inputs import Circumstances, Render
from kproxy.ruleset.iptables.compiler import dispatch_chain
from kproxy.ruleset.iptables.tree import DispatchTree, TreeChain
from kproxy.transaction.iptables.edit import Edit
from kproxy.values import NamespacedName


class DispatchChange(NamedTuple):
    written: Mapping[Chain, str]
    edited: Mapping[Chain, Edit]


NO_CHANGE = DispatchChange({}, {})


class Dispatch:
    """The dispatch chain `root` of nat and the tree below it."""

    def __init__(
        self, root: Chain, rules: Mapping[NamespacedName, str], circumstances: Circumstances, render: Render
    ) -> None:
        self._root = root
        self._rules = dict(rules)
        self._render = render
        self._tree = DispatchTree(root.name, circumstances.node.family, circumstances.layout)
        for key, lines in rules.items():
            self._tree.replace(key, "", lines)
        self._parts = {name: part for name, part in self._tree.changes().items() if part}

    @property
    def all_rules(self) -> str:
        """The rules of the chain if the dispatch is flat."""
        return "".join(rules for _, rules in sorted(self._rules.items()))

    def replace(self, key: NamespacedName, new: str) -> DispatchChange:
        """New rules of one Service: only its line in the root, whole chains below the root."""
        old = self._rules.pop(key, "")
        if new:
            self._rules[key] = new
        self._tree.replace(key, old, new)
        changed = self._changed_parts()
        if self._root.name in changed:
            line = _insertion(new) if new else f"-D{old.removeprefix('-A')}"
            return DispatchChange({}, {self._root: Edit("", (line,))})
        written = {Chain("nat", name): dispatch_chain(part, self._render) for name, part in changed.items()}
        return DispatchChange(written, {})

    def _changed_parts(self) -> dict[str, TreeChain]:
        parts = {name: part for name, part in self._tree.changes().items() if part}
        changed = {name: part for name, part in parts.items() if part != self._parts.get(name)}
        self._parts |= parts
        return changed


def _insertion(line: str) -> str:
    """At the head of the chain, where iptables does not have to count rules."""
    return f"-I{line.removeprefix('-A')}"
