"""Whatever changes, fails or is done by others, in any order: the next syncs bring the kernel to what is wanted."""

from collections.abc import Callable
from contextlib import closing, suppress

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from fakekernel.faults import When
from fakekernel.iptablesnode import FakeNode, chain
from kproxy.agent.suspects import FIRST_PAUSE_S
from kproxy.errors import OperationFailed
from kproxy.kernel.programs.iptables import Variant

NAMES = st.sampled_from("abcdef")
NUMBERS = st.integers(1, 6)
HARMS = st.sampled_from(["nothing", "flush", "insert", "jumps", "all"])
BAD = 81


class Node(RuleBasedStateMachine):
    """A node of which much goes wrong; nobody else has chains that stop one of ours from being deleted."""

    @initialize(variant=st.sampled_from(Variant), is_late=st.booleans(), names=st.sets(NAMES))
    def begin(self, variant: Variant, is_late: bool, names: set[str]) -> None:
        self.node = FakeNode(variant, is_late=is_late)
        self.node.serve(*sorted(names))

    @rule(names=st.sets(NAMES, min_size=1), port=st.sampled_from([80, 80, BAD]))
    def serve(self, names: set[str], port: int) -> None:
        self.node.serve(*sorted(names), port=port)

    @rule(name=NAMES, number=st.integers(0, 255))
    def move(self, name: str, number: int) -> None:
        self.node.endpoint(name, f"10.128.9.{number}")

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        self.node.delete(name)

    @rule()
    def restart(self) -> None:
        self.node.restart()

    @rule()
    def lose_the_record(self) -> None:
        self.node.record.make_unsure(self.node.kernel.family)
        self.node.record.forget(self.node.kernel.family, self.node.kernel.rules())

    @rule(number=NUMBERS, took_effect=st.booleans())
    def let_the_program_die(self, number: int, took_effect: bool) -> None:
        self.node.kernel.faults.die_in_write(number, took_effect=took_effect)

    @rule()
    def refuse_bad_services(self) -> None:
        self.node.kernel.faults.refuse(f"--dport {BAD} ")

    @rule(times=st.integers(1, 8))
    def refuse_any(self, times: int) -> None:
        self.node.kernel.faults.refuse("COMMIT", times=times)

    @rule(of=st.sampled_from(["commits", "names", "digests", "texts", "jumps", "saved"]), times=NUMBERS)
    def give_no_answer(self, of: str, times: int) -> None:
        self.node.kernel.faults.fail_reads(of, times=times)

    @rule(harm=HARMS, when=st.sampled_from(When), number=NUMBERS)
    def let_others_commit_later(self, harm: str, when: When, number: int) -> None:
        self.node.kernel.faults.somebody_commits(self.harm(harm), when=when, number=number)

    @rule(harm=HARMS)
    def let_others_commit(self, harm: str) -> None:
        self.node.kernel.faults.somebody_commits_now(self.harm(harm))

    @rule(verify=st.booleans(), records=st.booleans(), after_s=st.sampled_from([0.0, FIRST_PAUSE_S]))
    def sync(self, verify: bool, records: bool, after_s: float) -> None:
        self.node.now_s += after_s
        with suppress(OperationFailed):  # the record may not be made
            self.node.sync_unrecorded(verify=verify)
            if records:
                self.node.proxy.record()

    def harm(self, kind: str) -> Callable[[], None]:
        kernel = self.node.kernel
        texts = {
            "nothing": "*nat\nCOMMIT\n",
            "flush": f"*nat\n:{chain('a').name} - [0:0]\nCOMMIT\n",
            "insert": f"*nat\n-I {chain('b').name} -j RETURN\nCOMMIT\n",
            "jumps": "*nat\n:OUTPUT - [0:0]\nCOMMIT\n",
        }

        def delete_all() -> None:
            kernel.chains = {each: () for each in kernel.chains if each.is_built_in}

        return kernel.harm(texts[kind]) if kind in texts else delete_all

    def teardown(self) -> None:
        with closing(self.node.record):
            self.make_good()

    def make_good(self) -> None:
        node = self.node
        node.kernel.faults.end()
        for _ in range(3):
            node.now_s += 100 * FIRST_PAUSE_S  # longer than any pause of a Service that was refused
            report = node.sync(verify=True)
        assert (None, ()) == (report.error, report.quarantined)
        assert 0 == node.sync(verify=True).chains_written
        assert node.wanted() == node.held()
        assert node.kernel.rules().keys() == dict(node.observed.delta.observed).keys()


TestNode = Node.TestCase
TestNode.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
