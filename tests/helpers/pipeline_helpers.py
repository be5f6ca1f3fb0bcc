"""The pipeline from messages to elements, without a stream."""

import tensorflow as tf

from tfonline.features.pipeline import make_batches
from tfonline.stream.raw import Origin, RawBatch, raw_batch_spec


def elements_of(features, windows, batch_size, at_once, tombstones=(), negatives=None):
    """The elements of windows of messages, read `at_once` at a time from partition 3; a tick follows each window."""

    def raw():
        offset = 0
        for number, messages in enumerate(windows):
            for first in range(0, len(messages), at_once):
                some = messages[first : first + at_once]
                offsets = list(range(offset, offset + len(some)))
                origin = Origin([3] * len(some), offsets, [1000 + o for o in offsets])
                yield RawBatch(some, [o in tombstones for o in offsets], origin), number, False
                offset += len(some)
            yield RawBatch([], [], Origin([], [], [])), number, True
            yield RawBatch([], [], Origin([], [], [])), -1, True

    spec = (raw_batch_spec(), tf.TensorSpec([], tf.int64), tf.TensorSpec([], tf.bool))
    return list(make_batches(tf.data.Dataset.from_generator(raw, output_signature=spec), features, batch_size, negatives))
