"""The Services at fault if the kernel refuses one family's rules by iptables: found, left out, and tried again."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain as chain_up

from kproxy.agent.iptables_write import planned, writing
from kproxy.agent.progress import Progress
from kproxy.agent.stopwatch import Stage
from kproxy.agent.suspects import Suspects, limited
from kproxy.errors import OperationFailed, ProgramFailed
from kproxy.observed.iptables_chains import ObservedChains
from kproxy.observed.iptables_kernel import IptablesProgram
from kproxy.observed.states import State
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.iptables.desired import DesiredRuleset
from kproxy.transaction.culprits import Refusal, find_culprits
from kproxy.transaction.iptables.transaction import Section
from kproxy.transaction.refusal import is_refusal
from kproxy.values import NamespacedName

_PROBED = (Chain("filter", "KUBE-FORWARD"), Chain("nat", "KUBE-MARK-MASQ"))

_Refusal = Refusal[NamespacedName, ProgramFailed]
_Group = Sequence[NamespacedName]


class IptablesCulprits:
    """Withdraws the newest rules of Services, and admits again those that the kernel takes.

    The others keep the rules that they had, and are then suspects; a search that runs out of tries leaves some
    `untried`.
    """

    def __init__(
        self,
        iptables: IptablesProgram,
        observed: ObservedChains,
        desired: DesiredRuleset,
        suspects: Suspects,
        clock: Callable[[], float],
    ) -> None:
        self._iptables = iptables
        self._observed = observed
        self._desired = desired
        self._suspects = suspects
        self._clock = clock
        self._untried: list[list[NamespacedName]] = []

    @property
    def untried(self) -> AbstractSet[NamespacedName]:
        """Services among which some are at fault; the tries were used up before it was clear which."""
        return set(chain_up.from_iterable(self._untried))

    def try_again(self, keys: AbstractSet[NamespacedName], progress: Progress) -> ProgramFailed | None:
        """Try the newest rules, which were just computed, of Services that were refused or are untried.

        Returns a refusal if some are untried also after that.
        """
        self._desired.withdraw(keys)
        progress.enter(Stage.APPLY)
        groups, self._untried = [*self._untried, sorted(keys - self.untried)], []
        failed = self._suspects.not_computed_now
        return self._search([[key for key in group if key not in failed] for group in groups], progress, keys)

    def recover(
        self, failed: ProgramFailed, progress: Progress, *, may_have_been_others: bool
    ) -> ProgramFailed | None:
        """After a refusal: was the reason a change by others, a deletion, or some Services?

        Returns a refusal if some Services are untried; raises `failed` if no Service is at fault.
        """
        refused = progress.refused
        if may_have_been_others or refused is None or self._observed.state is State.UNREAD:
            self._look_at_all(progress)
        else:
            self._take_stock()
        progress.enter(Stage.APPLY)
        if may_have_been_others or refused is None or refused.deleted:
            try:
                self._commit_rest(progress)
            except ProgramFailed as again:
                if not is_refusal(again):
                    raise
                failed = again
            else:
                self._desired.settle(self._desired.changed)
                return None
        return self._blame(failed, progress)

    def _look_at_all(self, progress: Progress) -> None:
        progress.enter(Stage.OBSERVE)
        self._observed.look_at_all(self._desired.jumps)
        self._desired.reopen(self._observed.delta.observed)

    def _take_stock(self) -> None:
        """The kernel was read in this sync, and the commits since then are known; catch up on what they interrupted."""
        if self._observed.missing_jumps is None:
            self._observed.look_at_jumps(self._desired.jumps)
        self._observed.disown()

    def _commit_rest(self, progress: Progress, probes: Iterable[Section] = ()) -> None:
        """Write what the kernel lacks. Chains that cannot be deleted, as others use them, wait for the next sync."""
        if self._observed.state is State.UNREAD:
            self._look_at_all(progress)
        try:
            with writing(self._iptables, self._observed, progress) as write:
                write.commit(planned(self._iptables, self._observed, deletes_apart=True))
                write.commit(probes)
        except ProgramFailed as failed:
            if not (progress.refused and progress.refused.only_deletes):
                raise
            progress.not_deleted = failed

    def _probes(self) -> Iterator[Section]:
        """Chains of the node, written as they are: a kernel that refuses even these takes nothing at all."""
        for chain in _PROBED:
            rules = self._desired.chains.get(chain)
            if rules is not None and chain not in self._observed.delta.pending:
                yield Section(chain.table, {chain: rules})

    def _blame(self, failed: ProgramFailed, progress: Progress) -> ProgramFailed | None:
        """Find the Services at fault. Raises `failed` if rules are refused also without the newest of any."""
        changed = self._desired.changed
        if not changed:
            raise failed
        refusal = Refusal(failed, self._desired.owner(progress.refused_line))
        self._desired.withdraw(changed)
        if refusal.named is None:
            try:
                self._commit_rest(progress, self._probes())
            except OperationFailed:
                self._desired.admit(changed)
                raise failed from None
        # a single Service is tried again: the reason of the failure may be over
        is_certain = refusal.named is not None or len(changed) > 1
        return self._search([changed], progress, refusal=refusal if is_certain else None)

    def _search(
        self,
        groups: Sequence[_Group],
        progress: Progress,
        suspects: AbstractSet[NamespacedName] = frozenset(),
        refusal: _Refusal | None = None,
    ) -> ProgramFailed | None:
        """Give each withdrawn Service its newest rules if the kernel takes them.

        `refusal` is the known refusal of the only group, which then is not tried again.
        """
        changed = self._desired.changed
        refusals = [refusal] if refusal else []
        last: ProgramFailed | None = None

        def attempt(group: _Group) -> _Refusal | None:
            nonlocal last
            refused = refusals.pop() if refusals else self._attempt(group, progress)
            last = refused.reason if refused else last
            if refused is None:
                self._suspects.release(suspects & {*group})
            return refused

        try:
            found = find_culprits(groups, attempt, limited(self._clock))
        except BaseException:
            self._desired.admit(changed)  # the next sync tries all of them again
            raise
        self._suspects.refuse(found.culprits)
        self._untried += found.untried
        self._desired.settle([*found.culprits, *chain_up.from_iterable(found.untried)])
        self._commit_rest(progress)  # refused tries may have left chains behind
        self._desired.settle(changed)
        return last if found.untried else None

    def _attempt(self, group: _Group, progress: Progress) -> _Refusal | None:
        self._desired.admit(group)
        try:
            self._commit_rest(progress)
        except ProgramFailed as failed:
            if not is_refusal(failed):
                raise
            refusal = Refusal(failed, self._desired.owner(progress.refused_line))
            self._desired.withdraw(group)
            return refusal
        self._desired.settle(group)
        return None
