"""The Services at fault if the kernel refuses one family's table: found, left out, and tried again."""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain as chain_up

from kproxy.agent.suspects import Suspects, limited
from kproxy.errors import ProgramFailed
from kproxy.model.plan import Plans
from kproxy.ruleset.nftables.desired import DesiredTable
from kproxy.state.store import Store
from kproxy.transaction.culprits import Refusal, find_culprits
from kproxy.values import NamespacedName

_Group = Sequence[NamespacedName]
_Refusal = Refusal[NamespacedName, ProgramFailed]


class NftablesCulprits:
    """Places the newest plans of Services, and restores the old plans if the kernel refuses the newest.

    Services at fault keep the rules that they had, and are then suspects. A search that runs out of tries leaves some
    `untried`.
    """

    def __init__(
        self,
        desired: DesiredTable,
        suspects: Suspects,
        refusal: Callable[[], ProgramFailed | None],
        clock: Callable[[], float],
    ) -> None:
        self._desired = desired
        self._suspects = suspects
        self._refusal = refusal
        self._clock = clock
        self._were: dict[NamespacedName, Plans] = {}
        """Services that were placed since the last settled sync, with the plans that the kernel has of them."""
        self._untried: list[list[NamespacedName]] = []
        self.interrupted: set[NamespacedName] = set()
        """Services to be placed again, because a search for culprits among them was interrupted."""

    @property
    def untried(self) -> AbstractSet[NamespacedName]:
        """Services among which some are at fault; the tries were used up before it was clear which."""
        return set(chain_up.from_iterable(self._untried))

    def take_untried(self) -> list[list[NamespacedName]]:
        """The groups for which no search had tries left.

        The caller places their Services, and passes the groups to `search`.
        """
        taken, self._untried = self._untried, []
        return taken

    def place(self, store: Store, keys: AbstractSet[NamespacedName]) -> None:
        """Desire the newest plans of these Services; a Service that cannot be computed stays as it is."""
        # in the order of the API and of memory: in the order of a set they take a tenth longer
        for key in sorted(keys):
            self._were.setdefault(key, self._desired.plans_of(key))
            self._desired.place_newest(store, key)
        self._suspects.computed(keys, self._desired.take_not_computed())

    def settle(self) -> None:
        """Note that the kernel holds the desired table."""
        self._were.clear()

    def release(self) -> None:
        """All Services that were placed have their newest rules, as far as these could be computed."""
        self._suspects.release(self._were)

    def search(self, failed: ProgramFailed, groups: Sequence[_Group]) -> bool:
        """Find the Services that are at fault for a refusal, and desire their old plans; whether all were tried.

        For each of these groups, an earlier search had no tries left. Raises `failed`, and changes no plan, if the
        kernel refuses the table also with the old plans of all.
        """
        wanted = {key: self._desired.plans_of(key) for key in sorted(self._were)}
        others = wanted.keys() - set(chain_up.from_iterable(groups))
        try:
            self._place_all(self._were)
            found = (
                None
                if self._refusal()
                else find_culprits([*groups, sorted(others)], self._attempt_of(wanted), limited(self._clock))
            )
        except BaseException:
            self.interrupted |= wanted.keys()  # in case that placing them fails too
            self._place_all(wanted)
            raise
        if found is None:
            self.interrupted |= wanted.keys()
            self._place_all(wanted)
            self.interrupted.clear()
            raise failed
        left = {*found.culprits, *chain_up.from_iterable(found.untried)}
        self._suspects.release(self._were.keys() - left)
        self._suspects.refuse(found.culprits)
        self._untried += found.untried
        return not found.untried

    def _attempt_of(self, wanted: Mapping[NamespacedName, Plans]) -> Callable[[_Group], _Refusal | None]:
        """A function that gives a group its wanted plans, and takes them back if the kernel refuses them."""

        def attempt(group: _Group) -> _Refusal | None:
            self._place_all({key: wanted[key] for key in group})
            refused = self._refusal()
            if refused is None:
                return None
            self._place_all({key: self._were[key] for key in group})
            return Refusal(refused)

        return attempt

    def _place_all(self, plans_of: Mapping[NamespacedName, Plans]) -> None:
        for key, plans in plans_of.items():
            self._desired.place(key, plans)
