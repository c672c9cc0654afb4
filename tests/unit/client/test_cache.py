"""Values that live longer than the connections for which they were made."""

from kproxy.client.credentials.cache import Cache


def test_equal_keys_have_one_value() -> None:
    kept: Cache[tuple[str, int], list[int]] = Cache(lambda key: [key[1]])
    assert kept.of(("a", 1)) is kept.of(("a", 1))
    assert kept.of(("a", 1)) is not kept.of(("a", 2))


def test_keys_without_end_take_bounded_memory() -> None:
    made: list[int] = []
    kept: Cache[int, None] = Cache(made.append)
    for key in range(100):
        kept.of(key)
    kept.of(99)
    kept.of(85)
    assert 100 == len(made)
    kept.of(0)
    assert [*range(100), 0] == made


def test_key_in_use_outlives_others_that_come_and_go() -> None:
    made: list[int] = []
    kept: Cache[int, None] = Cache(made.append)
    for key in range(1, 100):
        kept.of(0)
        kept.of(key)
    assert 1 == made.count(0)
