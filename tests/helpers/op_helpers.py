"""Ways to run an op: by itself, and as the pipeline runs it."""

import pytest
import tensorflow as tf


def eagerly(op, *inputs):
    return op(*inputs)


def in_a_graph(op, *inputs):
    return next(iter(tf.data.Dataset.from_tensors(inputs).map(op)))


both_ways = pytest.mark.parametrize("run", [eagerly, in_a_graph])
