"""Counts to score by: few bytes in memory and on disk, and the same numbers to the bit, in stock TensorFlow, too."""

import os

import numpy as np
import pytest
import tensorflow as tf

from tfonline.deltas.saved_model import write
from tfonline.keep.variables import named_variables, release
from tfonline.model.tables import served_counts, small_counts
from tfonline.model.tables.served_counts import ServedCounts

ROWS = 1000
IDS = np.array([[0, 5, 7], [ROWS - 1, 1, 2]], np.int32)


class Model(tf.Module):
    def __init__(self):
        super().__init__()
        self.counts = ServedCounts(ROWS, 2)

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.int32)])
    def read(self, ids):
        return {"read": self.counts.read_rows(ids)}


def counts_of(most):
    """Counts of which most are below that; 0: any numbers."""
    random = np.random.default_rng(1)
    counts = random.integers(0, most, [ROWS, 2]) if most else random.normal(size=[ROWS, 2])
    counts = counts.astype(np.float32)
    counts[[5, 7, ROWS - 1]] = [[1e6, 7], [0.5, -0.0], [255, 65535]]
    return counts


@pytest.mark.parametrize(("most", "width"), [(9, 1), (9000, 2), (0, 4)])
def test_counts_are_read_as_they_were_given_whatever_reads_them(most, width, tmp_path, monkeypatch):
    for module in (small_counts, served_counts):
        monkeypatch.setattr(module, "ROWS_AT_ONCE", 300)
    counts, model = counts_of(most), Model()
    before = model.read.get_concrete_function()
    model.counts.assign(iter([counts[:300], counts[300:]]))
    assert before(tf.constant(IDS))["read"].numpy().tobytes() == counts[IDS].tobytes()
    assert model.counts.read_value().numpy().tobytes() == counts.tobytes()
    assert tf.raw_ops.VariableShape(input=model.counts.codes.resource_handle).numpy().tolist() == [ROWS, 2 * width]
    model.counts.pack()
    tf.saved_model.save(model, str(tmp_path / "saved"), signatures={"read": model.read})
    write(tmp_path / "saved", tmp_path / "moved", {"counts": counts[::-1]})
    assert os.path.getsize(tmp_path / "saved/variables/variables.data-00000-of-00001") < 2 * width * ROWS + 500
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:  # as TensorFlow Serving does it
        about = tf.compat.v1.saved_model.load(session, ["serve"], str(tmp_path / "saved")).signature_def["read"]
        read = session.run(about.outputs["read"].name, {about.inputs["ids"].name: IDS})
    assert read.tobytes() == counts[IDS].tobytes()
    moved = tf.saved_model.load(str(tmp_path / "moved"))
    assert named_variables(moved)["counts"].numpy().tobytes() == counts[::-1].tobytes()


@pytest.mark.parametrize("most", [9, 9000, 0])
def test_deltas_change_rows_of_one_loaded_model_and_of_no_other(most, tmp_path):
    counts, model = counts_of(most), Model()
    model.counts.assign([counts])
    model.counts.pack()
    tf.saved_model.save(model, str(tmp_path / "saved"), signatures={"read": model.read})
    loaded, other = (tf.saved_model.load(str(tmp_path / "saved")) for _ in range(2))
    table = named_variables(loaded)["counts"]
    rows, new = np.array([0, 5, 7, 9, ROWS - 1]), np.array([[3, 4], [1, 1], [2, 1e9], [0.25, 8], [9, 9]], np.float32)
    moved = counts.copy()
    moved[rows] = new
    table.scatter(rows, new)
    assert table.numpy().tobytes() == moved.tobytes()
    assert table.gather(rows).tobytes() == new.tobytes()
    assert loaded.signatures["read"](ids=tf.constant(IDS))["read"].numpy().tobytes() == moved[IDS].tobytes()
    release(named_variables(loaded))
    with pytest.raises(tf.errors.NotFoundError, match="does not exist"):
        loaded.signatures["read"](ids=tf.constant(IDS))
    assert other.signatures["read"](ids=tf.constant(IDS))["read"].numpy().tobytes() == counts[IDS].tobytes()
    assert model.read(IDS)["read"].numpy().tobytes() == counts[IDS].tobytes()
