"""What every network must hold. For a network of your own:

    from contracts.networks import check_network
    check_network(make)  # your function of (spec, settings)

It needs two logical devices, so that it must run before TensorFlow has, or after what asked for as many.
"""

import tempfile
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfonline.features.batch import Examples
from tfonline.features.kinds.integer import numeric_input
from tfonline.features.spec import Spec
from tfonline.model.learner import Learner
from tfonline.model.networks.network import Network
from tfonline.model.tables.replicas import make_strategy
from tfonline.settings.model import ModelSettings, OptimizerSettings

ROWS, NUM_IDS = 12, 40
_NEW = NUM_IDS - 1  # an id that the first batches do not have
SPEC = Spec.of(NUM_IDS, num_fields=4, own=numeric_input(2), scaled_fields=None, cross_buckets=50)


def check_network(make: Callable[[Spec, ModelSettings], Network], settings: ModelSettings | None = None, spec: Spec = SPEC) -> None:
    """Trains some networks on random batches and compares.

    Args:
      make: makes the network.
      settings: of the network; None: those of a small one.
      spec: of NUM_IDS ids; the inputs that the network shall get.

    Raises:
      AssertionError: saying what does not hold.
    """
    make_strategy(2, "cpu")  # first of all: it makes the logical devices
    settings = settings or ModelSettings(embedding_dim=3, deep_layers="8,4")

    def fresh(num_replicas: int = 1) -> Learner:
        strategy = make_strategy(num_replicas, "cpu")
        with strategy.scope():
            network = make(spec, settings)
        return Learner(strategy, network, OptimizerSettings(l2=1e-3))

    for check in (_restart, _ids_that_come_and_go, _order, _padding, _loaded_copy, _two_replicas):
        check(fresh, spec)


def _restart(fresh: Callable[..., Learner], spec: Spec) -> None:
    undisturbed, before, after = fresh(), fresh(), fresh()
    batches = _batches(spec, 6)
    _train(undisturbed, batches)
    _train(before, batches[:3])
    with tempfile.TemporaryDirectory() as folder:
        path = tf.train.Checkpoint(learner=before).write(f"{folder}/ckpt")
        tf.train.Checkpoint(learner=after).read(path).assert_consumed()
    _train(after, batches[3:])
    for variable, a, b in zip(undisturbed.variables, _values(undisturbed.variables), _values(after.variables), strict=True):
        np.testing.assert_array_equal(b, a, err_msg=f"after a restart, {variable.name} is another: is it in the checkpoint?")


def _ids_that_come_and_go(fresh: Callable[..., Learner], spec: Spec) -> None:
    learner = fresh()
    row = lambda: {name: table.table.numpy()[_NEW].copy() for name, table in learner.model.tables.items()}  # noqa: E731
    without, first = _batches(spec, 4), row()
    _train(learner, without[:2])
    _all_equal(row(), first, "the row of an id that no batch had has moved")
    ids = without[2].features["ids"].numpy()
    ids[:, -1] = _NEW
    _train(learner, [without[2]._replace(features=without[2].features | {"ids": tf.constant(ids)})])
    came = row()
    assert any((came[name] != first[name]).any() for name in first), "an id that came has learned nothing, in no table"
    _train(learner, without[3:])
    _all_equal(row(), came, "the row of an id that is gone has moved")
    for name, table in learner.model.tables.items():
        assert not table.table.numpy()[spec.num_ids].any(), f"the padding's row of {name} is not zero any more"
    assert bool(learner.all_finite()), "a weight or a slot is not finite"


def _order(fresh: Callable[..., Learner], spec: Spec) -> None:
    plain, turned = fresh(), fresh()
    batches = _batches(spec, 4)
    want = _train(plain, batches)
    got = _train(turned, [tf.nest.map_structure(lambda x: x[::-1], b) for b in batches])
    _all_close([g[::-1] for g in got], want, "scores hang on the order of a batch's rows")
    _weights_close(plain, turned, "the order of a batch's rows")


def _padding(fresh: Callable[..., Learner], spec: Spec) -> None:
    plain, padded = fresh(), fresh()
    batches = _batches(spec, 4)
    nothing = Examples(dict.fromkeys(spec.heads, 0.0), 0.0, spec.padding)

    def pad(x: tf.Tensor, padding: float) -> tf.Tensor:
        return tf.concat([x, tf.fill([5, *x.shape[1:]], tf.constant(padding, x.dtype))], axis=0)

    want = _train(plain, batches)
    got = _train(padded, [tf.nest.map_structure(pad, b, nothing) for b in batches])
    _all_close([g[:ROWS] for g in got], want, "padding changes scores")
    _weights_close(plain, padded, "padding")


def _loaded_copy(fresh: Callable[..., Learner], spec: Spec) -> None:
    learner = fresh()
    *batches, last = _batches(spec, 4)
    _train(learner, batches)
    want = learner.score(last.features).numpy()
    served = tf.Module()
    served.model = fresh().model
    with tempfile.TemporaryDirectory() as folder:
        # As Servable does: a network of its own, loaded from the checkpoint, and written without the optimizers.
        path = tf.train.Checkpoint(learner=learner).write(f"{folder}/ckpt")
        tf.train.Checkpoint(learner=tf.train.Checkpoint(model=served.model)).read(path).expect_partial()
        specs = {name: tf.TensorSpec([None, i.width], i.dtype, name) for name, i in spec.inputs.items()}
        served.score = tf.function(lambda inputs: served.model.score(inputs), autograph=False, input_signature=[specs])
        tf.saved_model.save(served, f"{folder}/saved")
        copy = tf.saved_model.load(f"{folder}/saved")
        got = served.model.stacked(copy.score(last.features))
    np.testing.assert_array_equal(got.numpy(), want, err_msg="a loaded copy scores otherwise")


def _two_replicas(fresh: Callable[..., Learner], spec: Spec) -> None:
    one, two = fresh(), fresh(2)
    batches = _batches(spec, 5)
    _all_close(_train(two, batches), _train(one, batches), "two replicas score otherwise than one")
    _weights_close(one, two, "the number of replicas")
    for variable in two.variables:
        first, second = (v.numpy() for v in two._strategy.experimental_local_results(variable))
        np.testing.assert_array_equal(first, second, err_msg=f"replicas have another {variable.name} each")


def _batches(spec: Spec, count: int) -> list[Examples]:
    """Random rows with repeated ids, without the id _NEW."""
    draw, places, scaled = np.random.default_rng(7), spec.inputs["ids"].width, spec.scaled_fields
    made = []
    for _ in range(count):
        ids = draw.zipf(1.5, (ROWS, places)) % (_NEW - places) + places
        ids[:, : scaled or 0] = np.arange(scaled or 0)
        values = np.ones((ROWS, places))
        any_values = places if scaled is None else scaled
        values[:, :any_values] = draw.random((ROWS, any_values))
        for place in spec.list_places:  # of each list the first place is empty now and then, but for the others' sake not the last
            empty = draw.random(ROWS) < 0.3
            ids[empty, place.start], values[empty, place.start] = spec.num_ids, 0.0
        inputs = {"ids": ids, "values": values}
        if numbers := spec.width("numeric"):
            inputs["numeric"] = np.where(draw.random((ROWS, numbers)) < 0.2, np.nan, draw.normal(size=(ROWS, 1)))
        if spec.cross_buckets:
            inputs["crosses"] = draw.integers(0, spec.cross_buckets, (ROWS, spec.inputs["crosses"].width))
        inputs = {name: tf.constant(x, spec.inputs[name].dtype) for name, x in inputs.items()}
        label = {head: tf.constant(draw.integers(0, 2, ROWS), tf.float32) for head in spec.heads}
        for head in spec.heads[1:]:  # it may be missing
            label[head] = tf.where(draw.random(ROWS) < 0.3, float("nan"), label[head])
        made.append(Examples(label, tf.ones([ROWS]), inputs))
    return made


def _train(learner: Learner, batches: list[Examples]) -> list[np.ndarray]:
    return [learner.train(b).logits.numpy() for b in batches]


def _values(variables: tuple | list) -> list[np.ndarray]:
    return [v.numpy() for v in variables]


def _all_equal(got: dict, want: dict, message: str) -> None:
    for name in want:
        np.testing.assert_array_equal(got[name], want[name], err_msg=f"{message}: {name}")


def _all_close(got: list, want: list, message: str) -> None:
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-5, atol=1e-5, err_msg=message)


def _weights_close(one: Learner, other: Learner, what: str) -> None:
    for variable, a, b in zip(one.all_weights, _values(one.all_weights), _values(other.all_weights), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5, err_msg=f"{what} changes {variable.name}")
