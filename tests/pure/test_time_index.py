"""Which offsets a time has, and which times lie around offsets, against topics that are looked at message by message."""

import bisect
import random

import pytest

from tfonline.stream.labels.time_index import TimeIndex


class Messages:
    """A topic as a broker would answer: of each partition its messages' times, in the order of offsets."""

    def __init__(self, partitions):
        self.partitions, self.asked = partitions, 0

    def at_time(self, ms):
        self.asked += 1
        return [next((o for o, at in enumerate(times) if at >= ms), len(times)) for times in self.partitions]


def rising(draw, most=60, latest=10_000):
    return sorted(draw.randrange(latest) for _ in range(draw.randrange(most)))


@pytest.mark.parametrize("seed", range(60))
def test_what_lies_behind_is_not_older_and_what_lies_before_is_older(seed):
    draw = random.Random(seed)
    topic = Messages([rising(draw) for _ in range(draw.randint(1, 4))])
    index, latest = TimeIndex(topic.at_time), 0
    offsets = [0] * len(topic.partitions)
    for _ in range(6):
        latest += draw.randrange(1, 3000)
        within = draw.choice([1, 10, 500])
        until = [bisect.bisect_left(times, latest) for times in topic.partitions]
        offsets = [draw.randint(o, max(o, u)) for o, u in zip(offsets, until, strict=True)]
        before, behind = index.before(offsets, latest, within), index.behind(offsets, latest, within)
        assert before <= latest
        assert behind <= latest
        rest = [at for times, o in zip(topic.partitions, offsets, strict=True) for at in times[o:]]
        first = [at for times, o in zip(topic.partitions, offsets, strict=True) for at in times[:o]]
        assert all(at >= before for at in rest)
        assert all(at < behind for at in first)
        # The last such time, and the first one: what is `within` further does not hold any more.
        if before + within < latest:
            assert any(at < before + within for at in rest)
        if behind - within > 0 and any(first):
            assert any(at >= behind - within for at in first)
        if draw.random() < 0.5:
            index.forget(before - draw.randrange(1000))


def test_what_is_known_is_not_asked_for_again():
    topic = Messages([list(range(0, 100_000, 10))])
    index = TimeIndex(topic.at_time)
    index.before([5000], 100_000, 10)
    asked = topic.asked
    assert asked <= 15
    index.before([5000], 100_000, 10)
    assert topic.asked == asked
    index.before([5001], 100_000, 10)
    assert topic.asked - asked <= 15


def test_times_that_do_not_rise_part_where_the_broker_says_so():
    """As Kafka has it, the offset of a time is that of the first message that is not older, whatever comes behind it."""
    topic = Messages([[100, 500, 200, 300, 600]])
    index = TimeIndex(topic.at_time)
    # Rows before offset 4 are older than 501; of those from offset 2 on the index says nothing that is older than 500.
    assert index.behind([4], 1000, 1) == 501
    assert index.before([2], 1000, 1) == 500
    assert topic.at_time(500) == [1]


def test_what_was_said_before_partitions_were_added_is_asked_again():
    topic = Messages([[100, 200, 300]])
    index = TimeIndex(topic.at_time)
    assert index.before([1], 1000, 1) == 200
    topic.partitions.append([400, 450])
    assert index.before([3, 0], 1000, 1) == 400
    assert index.behind([3, 1], 1000, 1) == 401
    assert index.offsets(420) == [3, 1]


def test_of_the_times_that_are_forgotten_the_last_one_is_kept():
    topic = Messages([list(range(0, 1000, 10))])
    index = TimeIndex(topic.at_time)
    for ms in (100, 200, 300, 400):
        index.offsets(ms)
    index.forget(350)
    asked = topic.asked
    assert index.before([30], 400, 100) == 300  # 300 and 400 are known
    assert topic.asked == asked


def test_a_partition_without_messages_holds_nothing_back():
    index = TimeIndex(Messages([[], [10, 20]]).at_time)
    assert index.before([0, 2], 1000, 1) == 999
    assert index.behind([0, 0], 1000, 1) == 1
