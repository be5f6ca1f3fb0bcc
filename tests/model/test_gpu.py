"""What can be known of the train step on a GPU without one: TensorFlow's list of kernels says what would run where."""

import collections

import numpy as np
import pytest
import tensorflow as tf
from growing import growing_learner, settings_of
from learner_helpers import FOUR_ROWS, learner_by_flags, random_batches, values_of
from tensorflow.python.framework import kernels

from tfonline.config import of_flags
from tfonline.features.batch import Examples
from tfonline.features.kinds.integer import numeric_input
from tfonline.features.spec import Spec
from tfonline.model.tables.replicas import make_strategy

ROWS, NUM_IDS, FIELDS, NUMBERS, CROSSES = 12, 777, 3, 2, 3


def gpu_kernel(op):
    """The kernel that would run it on a GPU, or None."""
    found = {}
    for kernel in kernels.get_registered_kernels_for_op(op.type).kernel:
        types = {c.name: [tf.as_dtype(t) for t in c.allowed_values.list.type] for c in kernel.constraint}
        if all(op.get_attr(name) in allowed for name, allowed in types.items()):
            found.setdefault(kernel.device_type, kernel)
    return found.get("GPU") or found.get("DEFAULT")


def in_host_memory(op, kernel):
    """The op's inputs and outputs that the kernel wants in the host's memory."""
    definition = op.op_def
    for arguments, tensors in ((definition.input_arg, list(op.inputs)), (definition.output_arg, op.outputs)):
        at = 0
        for argument in arguments:
            count = op.get_attr(argument.number_attr) if argument.number_attr else 1
            if argument.type_list_attr:
                count = len(op.get_attr(argument.type_list_attr))
            if argument.name in kernel.host_memory_arg:
                yield from tensors[at : at + count]
            at += count


def is_rows(tensor):
    """Whether it grows with the batch: no scalar, no shape, no variable's handle."""
    size = tensor.shape.num_elements()
    return tensor.dtype != tf.resource and (size is None or (size >= ROWS and tensor.op.type != "Const"))


def step_of(ids, num_replicas=1, **flags):
    config = of_flags(batch_size=ROWS, embedding_dim=5, deep_layers="16,4", num_replicas=num_replicas, **flags)
    inputs = Spec.of(NUM_IDS, FIELDS, numeric_input(NUMBERS), cross_buckets=config.features.cross_buckets)
    learner = learner_by_flags(make_strategy(num_replicas, "cpu"), config, inputs)
    spec = lambda dtype, *shape: tf.TensorSpec([ROWS, *shape], dtype)  # noqa: E731
    features = {"ids": spec(ids, FIELDS), "values": spec(tf.float32, FIELDS), "numeric": spec(tf.float32, NUMBERS)}
    if config.features.cross_buckets:
        features["crosses"] = spec(ids, CROSSES)
    batch = Examples({"label": spec(tf.float32)}, spec(tf.float32), features)
    return learner._train_steps.get_concrete_function(None, None, batch)


def what_leaves_the_gpu(step):
    found = collections.Counter()
    for op in step.graph.get_operations():
        if op.type in ("Placeholder", "NoOp"):
            continue
        kernel = gpu_kernel(op)
        if kernel is None:
            found[f"{op.type} has no GPU kernel"] += 1
        elif any(map(is_rows, in_host_memory(op, kernel))):
            found[f"{op.type} keeps rows in the host's memory"] += 1
    return dict(found)


ALL = {"history": True, "cross_buckets": 1000, "average_rows": 50, "l2": 1e-3}


@pytest.mark.parametrize("num_replicas", [1, 2])
@pytest.mark.parametrize("flags", [{"l2": 1e-3}, {"precision": "bfloat16"}, ALL], ids=["plain", "bfloat16", "all"])
def test_no_row_leaves_the_gpu_in_a_step(flags, num_replicas):
    assert what_leaves_the_gpu(step_of(tf.int64, num_replicas, **flags)) == {}


def test_no_row_leaves_the_gpu_while_ids_come_with_the_stream():
    learner = growing_learner(settings_of())
    learner.admission._branches = False  # as on a GPU
    spec = {name: tf.TensorSpec([ROWS, entry.width], entry.dtype) for name, entry in learner.model.spec.inputs.items()}
    spec["ids"] = tf.TensorSpec(spec["ids"].shape, tf.int64)
    of_rows = tf.TensorSpec([ROWS], tf.float32)
    batch = Examples({"label": of_rows}, of_rows, spec)
    assert what_leaves_the_gpu(learner._train_steps.get_concrete_function(None, None, batch)) == {}


def test_with_ids_of_32_bits_rows_would_leave_it():
    assert what_leaves_the_gpu(step_of(tf.int32))["Reshape keeps rows in the host's memory"] > 0


def test_ids_of_64_bits_are_the_same_ids():
    config = of_flags(batch_size=ROWS, embedding_dim=5, deep_layers="16,4", l2=1e-3, history=True)
    learners = [learner_by_flags(make_strategy(1, "cpu"), config, Spec.of(30, 3)) for _ in range(2)]
    for b in random_batches(5, ROWS, 30, 3):
        want = learners[0].train(b)
        ids = tf.cast(b.features["ids"], tf.int64)
        got = learners[1].train(b._replace(features=b.features | {"ids": ids}))
        np.testing.assert_array_equal(got.logits, want.logits)
    for a, b in zip(*map(values_of, learners), strict=True):
        np.testing.assert_array_equal(a, b)


def test_where_there_is_no_gpu_nothing_is_copied():
    learner = learner_by_flags(make_strategy(1, "cpu"), of_flags(embedding_dim=2, deep_layers="4"), Spec.of(30, 3))
    assert not learner.on_gpu
    assert learner.inputs(FOUR_ROWS) is FOUR_ROWS
