"""Records of a topic, read by a plain consumer: for a few of them, where a graph that reads would cost more than the records do."""

from collections.abc import Callable, Iterator, Mapping

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

_POLL_SECS = 0.1


class RowsGone(Exception):
    """Offsets that were to be read are no longer in the log."""


def read(
    consumer: Consumer, topic: str, ranges: Mapping[int, tuple[int, int]], nothing_came: Callable[[], None]
) -> Iterator[Message]:
    """The records of ranges of offsets, in order within each partition, until no more of them can come.

    Args:
      consumer: assigned to the ranges; it tells the end of a partition (Client.make_consumer).
      topic: its name.
      ranges: of a partition its half-open range, `[start, stop)`. Offsets without a record are passed over.
      nothing_came: called again and again while no record comes; it raises where that is too long.

    Raises:
      RowsGone: retention has removed the first of a range, and the consumer does not go on behind that (auto.offset.reset=error).
    """
    left = {partition: stop for partition, (start, stop) in ranges.items() if start < stop}
    consumer.assign([TopicPartition(topic, partition, ranges[partition][0]) for partition in left])
    while left:
        record = consumer.poll(_POLL_SECS)
        error = record and record.error()
        if error and error.code() == KafkaError._AUTO_OFFSET_RESET:
            start, stop = ranges[record.partition()]
            raise RowsGone(f"partition {record.partition()}: [{start}, {stop})")
        at_end = error and error.code() == KafkaError._PARTITION_EOF
        if record is None or (error and not at_end):
            nothing_came()
        elif (stop := left.get(record.partition())) is not None:
            if not at_end and record.offset() < stop:
                yield record
            if record.offset() >= (stop if at_end else stop - 1):
                del left[record.partition()]
            elif at_end:  # before `stop`: the leader's watermark lags
                nothing_came()
