"""Waiting for rows of a topic that is quiet: its broker is not asked again and again, it answers when a row comes."""

import time
from collections.abc import Callable, Sequence

from confluent_kafka import Consumer, TopicPartition

from tfonline.lifecycle import Stop

# A consumer at the partitions' ends has one request open with each broker, which is answered at the first row, or after this time.
LONG_POLL = {
    "fetch.wait.max.ms": 1000,
    "fetch.min.bytes": 1,
    # That a row came is all that is wanted of it: the smallest batches, and no row in reserve.
    "fetch.message.max.bytes": 1,
    "queued.min.messages": 1,
    "enable.partition.eof": False,
}
# Where rows came so lately, offsets are asked for as long as more may come: the consumer would fetch each row only to drop it.
_QUIET_SECS = 1.0
_POLL_SECS = 0.05
# A stop is noticed so soon.
_SLICE_SECS = 0.2
# After an error of the consumer offsets are asked for, so often and for so long.
_ASK_SECS, _AFTER_AN_ERROR_SECS = 0.5, 5.0


class NewRows:
    """Waits for the next row of a topic. For one thread.

    Args:
      make_consumer: makes a consumer with LONG_POLL; called at the first wait on a quiet topic.
      topic: its name.
      clock: seconds, monotonic.
    """

    def __init__(self, make_consumer: Callable[[], Consumer], topic: str, clock: Callable[[], float] = time.monotonic):
        self._make_consumer, self._topic, self._clock = make_consumer, topic, clock
        self._consumer: Consumer | None = None
        self._ends: list[int] = []  # as last seen
        self._assigned: list[int] = []  # where the consumer waits; empty: nowhere
        self._moved = self._failed = float("-inf")  # when the ends were seen to move, and when the consumer had an error

    def wait(self, ends: Sequence[int], stop: Stop, secs: float) -> bool:
        """Waits until a row may have come behind `ends`, a stop is asked for, or `secs` are over.

        What is not committed, or aborted, is no row.

        Returns:
          Whether a row may have come.
        """
        now = self._clock()
        if list(ends) != self._ends:
            self._ends, self._moved = list(ends), now
        if now - self._moved < _QUIET_SECS:
            stop.wait(min(secs, _POLL_SECS))
            return True
        if now - self._failed < _AFTER_AN_ERROR_SECS:
            stop.wait(min(secs, _ASK_SECS))
            return True
        self._assign(self._ends)
        deadline = now + secs
        while not stop.requested() and (left := deadline - self._clock()) > 0:
            record = self._consumer.poll(min(left, _SLICE_SECS))
            if record is not None:
                if record.error():  # such as an end that is no offset of the topic any more: the planner's look tells
                    self._failed = self._clock()
                self._assign([])  # while the planner is busy, nothing is fetched here
                return True
        return False

    def _assign(self, ends: Sequence[int]) -> None:
        if self._consumer is None:
            self._consumer = self._make_consumer()
        if ends != self._assigned:
            self._consumer.assign([TopicPartition(self._topic, p, end) for p, end in enumerate(ends)])
            self._assigned = list(ends)
