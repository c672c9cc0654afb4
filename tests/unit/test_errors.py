"""Failures of programs and answers of the kernel: two kinds with one parent, each with its own number and words."""

import errno

import pytest

from kproxy.errors import KernelRefused, KproxyError, OperationFailed, ProgramFailed
from kproxy.kernel.netlink.nfnetlink import Interrupted, refusal
from kproxy.transaction.refusal import is_refusal

BY_PROGRAM = ProgramFailed("nft -f -", 1, "/dev/stdin:1:1-9: Error: no such chain\n")
BY_KERNEL = KernelRefused("the list of chains", errno.EBUSY, "Device or resource busy")


@pytest.mark.parametrize("failed", [BY_PROGRAM, BY_KERNEL])
def test_both_failures_are_caught_by_their_parent(failed: OperationFailed) -> None:
    assert isinstance(failed, OperationFailed)
    assert isinstance(failed, KproxyError)
    assert failed.said in str(failed) + "\n"


def test_kernels_answer_has_the_number_of_the_error_and_names_what_was_asked() -> None:
    assert "the kernel refuses the list of chains: Device or resource busy" == str(BY_KERNEL)
    assert (errno.EBUSY, "the list of chains") == (BY_KERNEL.errno, BY_KERNEL.asked)
    assert not isinstance(BY_KERNEL, ProgramFailed)


def test_only_a_program_judges_rules() -> None:
    assert (True, False) == (BY_PROGRAM.is_verdict, BY_KERNEL.is_verdict)
    assert (True, False) == (is_refusal(BY_PROGRAM), is_refusal(BY_KERNEL))


def test_no_service_is_at_fault_where_the_kernel_answers_in_the_words_of_nft() -> None:
    assert not is_refusal(KernelRefused("a part of a change", errno.EINVAL, "/dev/stdin:1:1-9: Error: no"))


@pytest.mark.parametrize(
    ("refused", "number", "said"),
    [
        (OSError(errno.EPERM, "Operation not permitted"), errno.EPERM, "Operation not permitted"),
        (Interrupted(errno.EINTR, "the tables changed"), errno.EINTR, "the tables changed"),
        (OSError("no number"), 0, "no number"),
    ],
)
def test_refusal_keeps_number_and_words_of_the_system(refused: OSError, number: int, said: str) -> None:
    made = refusal("the list of rules", refused)
    assert (number, said) == (made.errno, made.said)
