"""The file of the lookup table that SavedModels take along: its name tells its content, as TensorFlow knows tables by name."""

import hashlib
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from rows import SMALL_SCHEMA as SCHEMA

from tfonline.config import of_flags
from tfonline.features.dictionaries import Dictionaries, save_dictionaries
from tfonline.features.kinds.category import hashed
from tfonline.features.kinds.category_ops import CategoryLookup
from tfonline.features.pipeline import Features
from tfonline.lifecycle import Exit, UserError
from tfonline.publish.servable import Servable
from tfonline.publish.versions import Versions
from tfonline.train import run

COLUMNS = ["C1", "C2"]
FIXED = {"I1": 0, "I2": 1, "OOVC1": 2, "OOVC2": 3}
ONE, OTHER = (
    Dictionaries({"I1": 9, "I2": 9}, {"I1": 0, "I2": 0}, FIXED | ids)
    for ids in ({"C1_ab": 4, "C2_ab": 5}, {"C2_ab": 4, "C1_ab": 5, "C1_cd": 6})
)
VALUES = tf.constant([["ab", "ab"], ["cd", "cd"]])
ROWS = [b"%d\t%d\t3\tcd\tab" % (i % 2, i % 10) for i in range(100)]


def tables(folder):
    return {file.name: file.read_bytes() for file in pathlib.Path(folder).iterdir() if file.name.startswith("category_ids")}


def test_the_name_tells_the_content_and_other_tables_are_removed(tmp_path):
    for name in ("category_ids.tsv", "category_ids-0123456789abcdef.tsv", "category_ids.tsv.mine", "loss.log"):
        (tmp_path / name).touch()
    file = CategoryLookup(ONE, COLUMNS).keep_in(tmp_path)
    assert file.parent == tmp_path
    assert file.name == f"category_ids-{hashlib.sha256(file.read_bytes()).hexdigest()[:16]}.tsv"
    assert [line.split(b"\t")[1] for line in file.read_bytes().splitlines()] == [b"4", b"5"]
    assert sorted(f.name for f in tmp_path.iterdir()) == sorted([file.name, "category_ids.tsv.mine", "loss.log"])
    assert CategoryLookup(ONE, COLUMNS).keep_in(tmp_path) == file
    assert CategoryLookup(OTHER, COLUMNS).keep_in(tmp_path) != file


def test_one_process_looks_up_the_ids_of_several_dictionaries(tmp_path):
    expected = [(ONE, [[4, 5], [2, 3]]), (OTHER, [[5, 4], [6, 3]]), (ONE, [[4, 5], [2, 3]])]
    lookups = []
    for dictionaries, ids in expected:
        lookups.append(CategoryLookup(dictionaries, COLUMNS))
        lookups[-1].keep_in(tmp_path)
        assert lookups[-1](hashed(VALUES))[0].numpy().tolist() == ids
    assert [lookup(hashed(VALUES))[0].numpy().tolist() for lookup in lookups] == [ids for _, ids in expected]


def test_one_process_serves_models_of_several_dictionaries(tmp_path):
    """As a server does, when a model with new dictionaries is published into its folder."""
    config = of_flags(deep_layers="4", embedding_dim=2, init_stddev=1.0)
    expected = []
    for i, dictionaries in enumerate((ONE, OTHER)):
        features = Features(SCHEMA, dictionaries, "minmax")
        features.keep_in(tmp_path)
        servable = Servable(config.model, SCHEMA, features)
        servable.write(tmp_path / str(i))
        expected.append(servable.score(tf.constant(ROWS[:5]))["logit"].numpy())
    for i, logits in enumerate(expected):
        found = tf.saved_model.load(str(tmp_path / str(i))).signatures["serving_default"](message=tf.constant(ROWS[:5]))
        assert found["logit"].numpy().tolist() == logits.tolist()
    assert not np.isclose(*expected).any()


@pytest.fixture
def train(small):
    """Trains in the same folder, in this process; returns the folder."""
    (small / "rows.tsv").write_bytes(b"\n".join(ROWS))

    def train(dictionaries):
        save_dictionaries(str(small / "dictionaries"), dictionaries)
        run(
            of_flags(
                columns=str(small / "small.yaml"), dictionary_dir=str(small / "dictionaries"), input_files=str(small / "rows.tsv"),
                model_dir=str(small / "model"), export_dir=str(small / "models"), export_every_windows=1, gate_rows=50,
                gate_min_auc=0, gate_calibration=0, gate_max_regression=9, numeric="minmax", stop_at="latest", window_rows=100,
                batch_size=50, deep_layers="4", embedding_dim=2,
            )
        )  # fmt: skip
        return small

    return train


def test_a_second_run_in_one_process_learns_and_exports_its_own_ids(train):
    folder = train(ONE)
    shutil.rmtree(folder / "model")
    train(OTHER)
    before, after = (
        tf.train.load_checkpoint(str(folder / "model" / name)).get_tensor("learner/model/wide/table/.ATTRIBUTES/VARIABLE_VALUE")
        for name in ("ckpt-0", "ckpt-1")
    )
    # Each row has C1 = cd, which the first dictionaries do not know, and C2 = ab. Ids 2, 3 and 5 are in no row; 7 is the padding.
    assert (before != after)[:, 0].tolist() == [True, True, False, False, True, False, True, False]
    newest = Versions(folder / "models").path(2)
    [table] = (newest / "assets").iterdir()
    assert [line.split(b"\t")[1] for line in table.read_bytes().splitlines()] == [b"4", b"5", b"6"]
    assert tables(folder / "model") == {table.name: table.read_bytes()}


def test_a_refused_run_leaves_no_table(train):
    folder = train(ONE)
    before = tables(folder / "model")
    with pytest.raises(UserError, match=r"the model in .* was made for another configuration") as e:
        train(OTHER)
    assert e.value.code == Exit.CONFIG == 78
    assert len(before) == 1
    assert tables(folder / "model") == before
