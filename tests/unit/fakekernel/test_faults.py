"""The switches of a fake kernel's faults."""

import pytest

from fakekernel.faults import Died, Faults, Refused, TooLong, Unreadable, When

TEXT = "one\ntwo\nthree\n"


def write(faults: Faults, text: str, effects: list[str]) -> None:
    with faults.writing(text):
        effects.append(text)


def test_write_without_a_fault_takes_effect_as_one_commit() -> None:
    faults, effects = Faults(), list[str]()
    write(faults, TEXT, effects)
    assert ([TEXT], 1) == (effects, faults.commits.value)


def test_write_with_refused_words_has_no_effect_and_names_their_line() -> None:
    faults, effects = Faults(), list[str]()
    faults.refuse("two")
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            write(faults, TEXT, effects)
    assert (2, [], 0) == (refused.value.line, effects, faults.commits.value)
    write(faults, "one\n", effects)
    faults.end()
    write(faults, TEXT, effects)
    assert (["one\n", TEXT], 2) == (effects, faults.commits.value)


def test_check_is_refused_as_a_write_is() -> None:
    faults = Faults()
    faults.refuse("three", times=1)
    with pytest.raises(Refused, match="line 3: is not wanted here"):
        faults.judge(TEXT)
    faults.judge(TEXT)


def test_refused_line_meets_the_next_text_that_has_it() -> None:
    faults = Faults()
    faults.refuse_line(3, said="too much")
    faults.judge("one\ntwo\n")
    with pytest.raises(Refused, match="line 3: too much"):
        faults.judge(TEXT)
    faults.judge(TEXT)


@pytest.mark.parametrize("took_effect", [False, True])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_program_that_dies_does_so_in_the_write_of_that_number(number: int, took_effect: bool) -> None:
    faults, effects = Faults(), list[str]()
    faults.die_in_write(number, took_effect=took_effect)
    for _ in range(1, number):
        write(faults, TEXT, effects)
    with pytest.raises(Died):
        write(faults, TEXT, effects)
    assert number - 1 + took_effect == len(effects) == faults.commits.value
    write(faults, TEXT, effects)


@pytest.mark.parametrize(("when", "before"), [(When.BEFORE_WRITE, 1), (When.AFTER_WRITE, 2)])
def test_somebody_else_commits_beside_the_write_of_that_number(when: When, before: int) -> None:
    faults, effects, seen = Faults(), list[str](), list[int]()
    faults.somebody_commits(lambda: seen.append(faults.commits.value), when=when, number=2)
    for _ in range(3):
        write(faults, TEXT, effects)
    assert ([before], 4) == (seen, faults.commits.value)


def test_somebody_else_commits_after_the_read_of_that_kind() -> None:
    faults = Faults()
    faults.somebody_commits(when=When.AFTER_READ, of="elements")
    for of, expected in (("blocks", 0), ("elements", 1), ("elements", 1)):
        with faults.reading(of):
            pass
        assert expected == faults.commits.value


def test_faults_are_not_for_the_writes_of_somebody_else() -> None:
    faults, effects = Faults(), list[str]()
    faults.refuse("one")
    faults.die_in_write()
    faults.fail_reads()

    def act() -> None:
        write(faults, TEXT, effects)
        with faults.reading("blocks"):
            pass

    faults.somebody_commits_now(act)
    assert ([TEXT], 1) == (effects, faults.commits.value)


def test_read_that_fails_is_the_next_one_of_that_kind() -> None:
    faults = Faults()
    faults.fail_reads("digests")
    with faults.reading("blocks"):
        pass
    with pytest.raises(Unreadable), faults.reading("digests"):
        pass
    with faults.reading("digests"):
        pass


def test_text_that_is_too_long_is_neither_written_nor_checked_until_there_is_room() -> None:
    faults, effects = Faults(), list[str]()
    faults.hold_at_most(len(TEXT) - 1)
    with pytest.raises(TooLong):
        faults.judge(TEXT)
    with pytest.raises(TooLong):
        write(faults, TEXT, effects)
    faults.hold_at_most(None)
    write(faults, TEXT, effects)
    assert ([TEXT], 1) == (effects, faults.commits.value)


def test_write_that_the_fake_kernel_itself_refuses_is_no_commit() -> None:
    faults = Faults()
    with pytest.raises(KeyError), faults.writing(TEXT):
        raise KeyError
    assert 0 == faults.commits.value


def test_two_families_share_the_commit_count_and_have_faults_of_their_own() -> None:
    one, effects = Faults(), list[str]()
    other = Faults(one.commits)
    one.refuse("one")
    write(other, TEXT, effects)
    assert 1 == one.commits.value
