"""What the model counts: by hand, with padding and replicas, and never a row's own label."""

import numpy as np
import pytest
import tensorflow as tf
from checkpoint_helpers import saved
from rows import SCHEMA, make_rows

from tfonline.evaluate.progressive import PREDICTION, exact_auc
from tfonline.features.dictionaries import Dictionaries, save_dictionaries
from tfonline.features.spec import Pairs, Spec
from tfonline.model.networks.wide_deep import history
from tfonline.model.tables.replicas import make_strategy


def logit(p):
    return np.log(p / (1 - p))


def make(layer, num_replicas=1):
    strategy = make_strategy(num_replicas, "cpu")
    with strategy.scope():
        layer.build(None)
    return layer, strategy


def count(layer, strategy, *tensors):
    @tf.function(autograph=False)
    def step():
        strategy.run(layer.count, tuple(map(tf.constant, tensors)))

    step()


@pytest.mark.parametrize("num_replicas", [1, 2])
def test_an_id_is_its_smoothed_share_of_clicks_and_its_rows(num_replicas):
    layer, strategy = make(history.IdHistory(Spec.of(4, 2)), num_replicas)
    ids = np.array([[0, 1], [0, 2], [0, 0], [4, 4]], np.int32)  # the last row is padding
    count(layer, strategy, ids, np.array([1, 0, 1, 1], np.float32), np.array([1, 1, 1, 0], np.float32))
    share = (1 + 2) / (4 + 3)  # of all rows; a share of 1/4 over 4 rows is the start
    rows = {0: (4, 3), 1: (1, 1), 2: (1, 0), 3: (0, 0), 4: (0, 0)}
    for own in strategy.experimental_local_results(layer.counts):
        assert own.numpy().tolist() == [list(map(float, rows[i])) for i in range(5)]
    got = layer(tf.constant([[0, 1], [2, 3]])).numpy()
    smoothed = {i: logit((c + 5 * share) / (v + 5)) - logit(share) for i, (v, c) in rows.items()}
    want = [[smoothed[0], smoothed[1], np.log(5) / 10, np.log(2) / 10], [smoothed[2], 0, np.log(2) / 10, 0]]
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_counts_are_halved_before_float32_counts_no_further(monkeypatch):
    monkeypatch.setattr(history, "_MOST_ROWS", 6.0)
    layer, strategy = make(history.IdHistory(Spec.of(1, 2)))
    one = (np.zeros((4, 1), np.int32), np.array([1, 1, 1, 0], np.float32), np.ones(4, np.float32))
    count(layer, strategy, *one)
    assert layer.counts.numpy().tolist() == [[4, 3], [0, 0]]
    count(layer, strategy, *one)
    assert layer.counts.numpy().tolist() == [[4, 3], [0, 0]]  # 8 and 6, halved


def test_one_row_in_so_many_shows_which_counts_are_to_be_halved(monkeypatch):
    monkeypatch.setattr(history, "_MOST_ROWS", 6.0)
    layer, strategy = make(history.IdHistory(Spec.of(20, 1)))
    rows = 17
    count(layer, strategy, np.arange(rows, dtype=np.int32)[:, None], np.zeros(rows, np.float32), np.full(rows, 8, np.float32))
    assert layer.counts.numpy()[:, 0].tolist() == [4, *[8] * 15, 4, *[0] * 4]
    count(layer, strategy, np.array([[5]], np.int32), np.zeros(1, np.float32), np.ones(1, np.float32))
    assert layer.counts.numpy()[4:7, 0].tolist() == [8, 4.5, 8]


def test_counts_of_crosses_are_halved_one_by_one(monkeypatch):
    monkeypatch.setattr(history, "_MOST_ROWS", 3.0)
    layer, strategy = make(history.CrossHistory(5, Pairs(3)))
    crosses = np.array([[0, 1, 2], [0, 1, 3], [0, 4, 4], [0, 5, 5]], np.int32)  # 4 twice in a row: two pairs of one hash
    count(layer, strategy, crosses, np.array([1, 0, 1, 1], np.float32), np.array([1, 1, 1, 0], np.float32))
    assert layer.counts.numpy().tolist() == [[3, 2], [2, 1], [1, 1], [1, 0], [2, 2], [0, 0]]
    count(layer, strategy, crosses[:1], np.ones(1, np.float32), np.ones(1, np.float32))
    assert layer.counts.numpy().tolist() == [[2, 1.5], [3, 2], [2, 2], [1, 0], [2, 2], [0, 0]]


@pytest.mark.parametrize("num_replicas", [1, 2])
def test_a_column_is_the_mean_lift_of_its_pairs(num_replicas):
    layer, strategy = make(history.CrossHistory(5, Pairs(3)), num_replicas)
    crosses = np.array([[0, 1, 2], [3, 1, 2]], np.int32)  # pairs (0, 1), (0, 2), (1, 2)
    count(layer, strategy, crosses, np.array([1, 0], np.float32), np.ones(2, np.float32))
    share = (1 + 1) / (4 + 2)
    lift = [logit((c + 5 * share) / (v + 5)) - logit(share) for v, c in ((1, 1), (2, 1), (2, 1), (1, 0), (0, 0))]
    got = layer(tf.constant([[0, 1, 2], [3, 4, 5]])).numpy()
    want = [[lift[0] + lift[1], lift[0] + lift[2], lift[1] + lift[2]], [lift[3], lift[3], 0]]
    np.testing.assert_allclose(got, np.array(want) / 2, atol=1e-6)


def test_numbers_are_standardised_by_what_came_before():
    layer, strategy = make(history.Standardise(2))
    nan = float("nan")
    first = np.array([[1, nan], [3, 4], [nan, nan], [100, 100]], np.float32)
    assert layer(tf.constant([[0.5, nan]])).numpy().tolist() == [[0.5, 0, 0, 1]]  # nothing has come yet
    count(layer, strategy, first, np.array([1, 1, 1, 0], np.float32))
    got = layer(tf.constant([[4.0, 4.0], [nan, 5.0], [-90.0, nan]])).numpy()
    # I1: 1 and 3, mean 2, deviation 1. I2: 4 alone; a deviation is at least 0.1, and nothing is beyond 5 of them.
    np.testing.assert_allclose(got, [[2, 0, 0, 0], [0, 5, 1, 0], [-5, 0, 0, 1]], atol=1e-6)


def test_nothing_scores_a_row_after_having_learned_from_it(topic, start, produce, tmp_path):
    """Each row's label hangs on an id of its own: who has not seen the label cannot know it, and who has seen it does."""
    ids = {c: i for i, c in enumerate([*SCHEMA.ranged, *(f"OOV{c}" for c in SCHEMA.listed)])}
    rows = []
    for i, label in enumerate(np.random.default_rng(3).integers(0, 2, 600)):
        ids[f"C1_{i:08x}"] = len(ids)
        rows.append(b"\t".join([b"%d" % label, *[b""] * 13, b"%08x" % i, *[b""] * 25]))
    ranges = [dict.fromkeys(SCHEMA.ranged, n) for n in (1, 0)]
    save_dictionaries(str(tmp_path / "secret"), Dictionaries(*ranges, ids))
    settings = {"dictionary_dir": str(tmp_path / "secret"), "history": True, "num_replicas": 2, "batch_size": 20}
    settings |= {"cross_buckets": 1000, "average_rows": 100}
    settings |= {"window_rows": 60, "save_predictions": True, "checkpoint_every_steps": 1, "wide_learning_rate": 0.5}
    name = topic([rows[:150], rows[150:300]])
    start(topic=name, **settings)
    for partition, half in enumerate((rows[300:450], rows[450:])):  # after a restart: new rows, then all for a second time
        produce(name, half, partition)
        produce(name, rows[150 * partition :][:150] + half, partition)
    start(topic=name, **settings)
    scored = np.fromfile(tmp_path / "model" / "predictions.bin", PREDICTION)
    assert len(scored) == 1200

    def auc_in_batches(rows):
        """Within 20 rows at a time: what all rows share, such as the bias, moves from step to step."""
        parts = np.split(rows, len(rows) // 20)
        return np.mean([exact_auc(part["logit"], part["label"]) for part in parts])

    first_time = scored["offset"] < 300
    assert abs(auc_in_batches(scored[first_time]) - 0.5) < 0.08  # three deviations of chance
    assert auc_in_batches(scored[~first_time]) > 0.9


def test_what_is_counted_goes_on_after_a_restart(topic, start, produce, tmp_path):
    rows, models = make_rows(400), []
    for parts in ([rows], [rows[:200], rows[200:]]):
        name, folder = topic([[]]), tmp_path / str(len(parts))
        for part in parts:
            produce(name, part)
            settings = {"history": True, "cross_buckets": 500, "average_rows": 100, "oov_buckets": 50, "window_rows": 50}
            start(topic=name, model_dir=str(folder), **settings)
        models.append(saved(folder)[0])
    names = [n for n in models[0] if n.endswith("VARIABLE_VALUE")]
    followed = ["average/seen", "average/shift", "cross_history/counts", "cross_history/total", "history/counts", "history/total"]
    followed += ["average/dense_0/kernel", "standardise/sums"]
    assert not [f for f in followed if f"learner/model/{f}/.ATTRIBUTES/VARIABLE_VALUE" not in names]
    assert [n for n in names if models[0][n].tobytes() != models[1][n].tobytes()] == []
