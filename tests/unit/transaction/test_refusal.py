"""The words of programs when they refuse rules, recorded from iptables 1.8.9 and nft 1.0.6."""

import pytest

from kproxy.errors import ProgramFailed
from kproxy.transaction.refusal import in_words, is_refusal, named_rule

RULE = "-A KUBE-SVC-X -p tcp -m tcp --dport 99999999 -j RETURN"
BAD_PORT = "iptables-restore v1.8.9 (legacy): invalid port/service `99999999' specified\nError occurred at line: 3\nTry `iptables-restore -h' or 'iptables-restore --help' for more information.\n"
NO_MATCH = "iptables-nft-restore v1.8.9 (nf_tables): Couldn't load match `nosuch':No such file or directory\n\nError occurred at line: 3\n"
BY_KERNEL = "iptables-nft-restore v1.8.9 (nf_tables): \nline 3: RULE_APPEND failed (No such file or directory): rule in chain KUBE-SVC-X\n"
AT_COMMIT = "iptables-restore: line 4 failed\n"
BY_NFT = (
    "/dev/stdin:3:2-9: Error: Could not process rule: No such file or directory\n\tjump nowhere\n\t^^^^^^^^\n"
)


def failed(said: str, code: int | None = 1, line: int = 3, rule: str = RULE) -> ProgramFailed:
    excerpt = f"      2 :KUBE-SVC-X - [0:0]\n>     3 {rule}\n      4 COMMIT" if line else ""
    return ProgramFailed("iptables-legacy-restore -w 5", code, said, excerpt, line)


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (failed(BAD_PORT, 2), f"invalid port/service `99999999' specified: {RULE}"),
        (failed(NO_MATCH, 2), f"Couldn't load match `nosuch':No such file or directory: {RULE}"),
        (
            failed(BY_KERNEL, 4),
            f"RULE_APPEND failed (No such file or directory): rule in chain KUBE-SVC-X: {RULE}",
        ),
        (
            failed(AT_COMMIT, rule="COMMIT"),
            "the kernel does not take them, and iptables-legacy-restore does not say why",
        ),
        (failed(BY_NFT, line=0), "Could not process rule: No such file or directory: jump nowhere"),
    ],
)
def test_refusal_is_told_in_one_line_that_does_not_change_with_line_numbers(
    failure: ProgramFailed, words: str
) -> None:
    assert is_refusal(failure)
    assert words == in_words(failure)


def test_refusal_is_told_in_a_line_of_bounded_length() -> None:
    assert 400 == len(in_words(failed(BAD_PORT, rule=f"-A KUBE-SVC-X {'x' * 9_000}")))


@pytest.mark.parametrize(
    "failure",
    [
        failed("", None),
        failed(BAD_PORT, -9),
        failed(BAD_PORT, -11),
        failed("it ended before it had read everything", 0),
        failed("Another app is currently holding the xtables lock; waited 5s", 4, 0),
        failed("can't initialize iptables table `nat': Table does not exist", 3, 0),
        failed("line 3: RULE_APPEND failed (Cannot allocate memory): rule in chain X", 4),
        failed("line 3: CHAIN_DEL failed (Device or resource busy): chain X", 4),
        failed("line 3: RULE_APPEND failed (Operation not permitted): rule in chain X", 4),
        failed("/dev/stdin:3:2-9: Error: Could not process rule: Message too long\n", 1, 0),
        failed("netlink: Error: cache initialization failed: Too many open files\n", 1, 0),
        failed("a shell that is out of order", 1, 0),
    ],
)
def test_failure_that_is_not_about_rules_is_no_refusal(failure: ProgramFailed) -> None:
    assert not is_refusal(failure)


@pytest.mark.parametrize(
    ("line", "named"), [(RULE, RULE), (":KUBE-X - [0:0]", ":KUBE-X - [0:0]"), ("COMMIT", "")]
)
def test_line_that_belongs_to_no_chain_names_no_rule(line: str, named: str) -> None:
    assert named == named_rule(failed(AT_COMMIT, rule=line))
