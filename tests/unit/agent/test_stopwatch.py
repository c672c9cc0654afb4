"""The seconds of each stage of a sync."""

from kproxy.agent.stopwatch import Stage, Stopwatch


def test_stopwatch_adds_up_each_stage_and_counts_the_present_one_until_now() -> None:
    now_s = [10.0]
    watch = Stopwatch(lambda: now_s[0])
    for stage, spent_s in (
        (Stage.OBSERVE, 1.0),
        (Stage.APPLY, 2.0),
        (Stage.OBSERVE, 4.0),
        (Stage.COMPUTE, 8.0),
    ):
        now_s[0] += spent_s
        watch.enter(stage)
    now_s[0] += 16.0
    assert [17.0, 10.0, 4.0] == [watch.spent_s(stage) for stage in Stage]
