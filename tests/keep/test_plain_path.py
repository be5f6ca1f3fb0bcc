"""Folders whose names TensorFlow takes for patterns: what is read is what lies there, and no neighbour's."""

import os
import pathlib

import pytest
import tensorflow as tf
from serving_helpers import publish

from tfonline.keep.plain_path import plain_path
from tfonline.publish.versions import Versions
from tfonline.serving.models import Models

# A folder's name, and another one that it fits as a pattern.
NAMES = [("lr=[0.1,0.2]", "lr=1"), ("[!a]", "b"), ("a*", "ab"), ("a?", "ab"), ("a b", "a-b"), ("a\\b", "ab"), ("{a,b}", "a")]


@pytest.fixture(params=NAMES, ids=[name for name, _ in NAMES])
def folders(request, tmp_path):
    """A folder and its neighbour, which is not there yet."""
    folder, neighbour = (tmp_path / name for name in request.param)
    folder.mkdir()
    return folder, neighbour


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write(folder, value):
    folder.mkdir(exist_ok=True)
    with plain_path(folder / "ckpt-7") as plain:
        tf.train.Checkpoint(x=tf.Variable(value)).write(plain)


def read(folder):
    """The value in a checkpoint, taken over by a variable and looked at without one."""
    found = tf.Variable(0.0)
    with plain_path(folder / "ckpt-7") as plain:
        tf.train.Checkpoint(x=found).read(plain).assert_consumed()
        return found.numpy(), tf.train.load_checkpoint(plain).get_tensor("x/.ATTRIBUTES/VARIABLE_VALUE")


def test_a_checkpoint_is_the_one_that_was_named(folders):
    folder, neighbour = folders
    write(folder, 1.0)
    assert {path.name for path in folder.iterdir()} == {"ckpt-7.index", "ckpt-7.data-00000-of-00001"}
    assert read(folder) == (1, 1)
    write(neighbour, 2.0)
    before = contents(neighbour)
    assert read(folder) == (1, 1)
    write(folder, 3.0)
    assert read(folder) == (3, 3)
    assert contents(neighbour) == before


def served(folder):
    models = Models(Versions(folder), print)
    models.look()
    assert models.failed == {}
    return models.current.score("serving_default", {"message": ["abc"]})["logit"].tolist()


def test_a_served_model_is_the_one_that_was_named(folders):
    folder, neighbour = folders
    publish(folder, 1.0)
    assert served(folder) == [3]
    publish(neighbour, 2.0)
    before = contents(neighbour)
    assert served(folder) == [3]
    assert contents(neighbour) == before


def test_the_path_has_no_character_of_a_pattern_and_is_given_back(tmp_path):
    folder = tmp_path / "*[?]\\"
    folder.mkdir()
    (folder / "name").write_text("content")
    before = len(os.listdir("/proc/self/fd"))
    with plain_path(folder / "name") as plain:
        assert not set(plain) & set("[]*?\\{}")
        assert pathlib.Path(plain).read_text() == "content"
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_folder_must_be_there(tmp_path):
    with pytest.raises(FileNotFoundError), plain_path(tmp_path / "none" / "ckpt-1"):
        pass
