"""Small models and batches for the tests of the train step."""

import numpy as np
import tensorflow as tf

from tfonline.features.batch import Examples
from tfonline.features.spec import Spec
from tfonline.model import learner as model_learner
from tfonline.model.learner import Learner
from tfonline.model.networks.wide_deep.model import WideDeep
from tfonline.model.tables.replicas import make_strategy
from tfonline.settings.model import OptimizerSettings

SEED_RATES = OptimizerSettings(
    wide_learning_rate=5e-2,
    wide_l1=1e-8,
    wide_l2=1e-8,
    wide_initial_accumulator=1.0,
    wide_reduction="mean",
    deep_learning_rate=3.5e-4,
    l2=8e-5,
)


def make_learner(num_replicas=1, num_ids=6, fields=3, dim=2, layers=(4,), rates=SEED_RATES, stddev=0.1, replay=None, **model):
    strategy = make_strategy(num_replicas, "cpu")
    with strategy.scope():
        model = WideDeep(Spec.of(num_ids, fields), dim, layers, "glorot", stddev, seed=3, **model)
    return Learner(strategy, model, rates, replay=replay)


def learner_by_flags(strategy, config, spec):
    """The learner that all the flags ask for."""
    compiled = config.learning.jit_compile
    return model_learner.make_learner(
        strategy,
        spec,
        config.model,
        config.optimizers,
        jit_compile=compiled,
        vocabulary=config.vocabulary,
        keep_negatives=config.features.keep_negatives,
    )


def values_of(learner, replica=0):
    """All weights and slots of a replica."""
    strategy = learner._strategy
    return [strategy.experimental_local_results(v)[replica].numpy() for v in learner.variables]


def examples(ids, label, values=None, weight=None, **more):
    """Rows with ids [B, F]; each of value and weight 1 if not told otherwise."""
    ids = np.asarray(ids, np.int32)
    values = np.ones(ids.shape, np.float32) if values is None else np.asarray(values, np.float32)
    weight = np.ones(len(ids), np.float32) if weight is None else np.asarray(weight, np.float32)
    features = {"ids": ids, "values": values, **more}
    return tf.nest.map_structure(tf.constant, Examples({"label": np.asarray(label, np.float32)}, weight, features))


def random_batches(steps, rows=12, num_ids=30, fields=3):
    """Batches with repeated ids; now and then the second half, or all but one row, is padding."""
    random = np.random.default_rng(5)
    for step in range(steps):
        weight = np.ones(rows, np.float32)
        weight[{0: rows, 1: rows - 5, 2: 1, 3: rows // 2}[step % 4] :] = 0
        ids = random.zipf(1.5, (rows, fields)) % num_ids
        values = random.random((rows, fields)) * weight[:, None]
        yield examples(np.where(weight[:, None] > 0, ids, num_ids), random.integers(0, 2, rows) * weight, values, weight)


def as_one(batches):
    """Batches one after the other, as Learner.train_steps takes them."""
    return tf.nest.map_structure(lambda *columns: tf.concat(columns, axis=0), *batches)


# Three rows of three columns, and one of padding.
FOUR_ROWS = examples([[0, 1, 2], [3, 4, 5], [0, 4, 2], [6, 6, 6]], [1, 0, 1, 1], weight=[1, 1, 1, 0])
