"""What a SavedModel is held against: the trainer's own scores, and those of a process that knows TensorFlow alone."""

import subprocess
import sys

import numpy as np
import tensorflow as tf
from learner_helpers import learner_by_flags
from rows import SCHEMA

from tfonline.features import make
from tfonline.formats.make import format_of
from tfonline.model.tables.replicas import make_strategy

# Loads SavedModels and scores the rows of a file by them, with TensorFlow alone: CLIENT rows [SavedModel size output]...
CLIENT = """
import gzip, sys, numpy as np, tensorflow as tf
rows = (gzip.open if sys.argv[1].endswith(".gz") else open)(sys.argv[1], "rb").read().rstrip(b"\\n").split(b"\\n")
for saved, size, output in zip(sys.argv[2::3], map(int, sys.argv[3::3]), sys.argv[4::3]):
    score = tf.saved_model.load(saved).signatures["serving_default"]
    found = [score(message=tf.constant(rows[i : i + size])) for i in range(0, len(rows), size)]
    np.savez(output, **{name: np.concatenate([f[name] for f in found]) for name in found[0]})
assert "tfonline" not in sys.modules
"""


def make_features(config, folder=None):
    """The trainer's, the table in a file where a folder is given."""
    f, known = config.features, make.load_known(SCHEMA, config.features, config.vocabulary)
    form = format_of(config.stream, SCHEMA)
    features = make.make_features(SCHEMA, known, f, config.vocabulary, form, config.model.vocab_size)
    if folder:
        features.keep_in(folder)
    return features


def trainers_scores(config, rows, size, *checkpoints):
    """The logits that the trainer itself gives from each of its checkpoints."""
    features = make_features(config)
    learner = learner_by_flags(make_strategy(1, "cpu"), config, features.spec)
    made = list(tf.data.Dataset.from_tensor_slices(rows).batch(size, drop_remainder=True).map(features))
    for checkpoint in checkpoints:
        tf.train.Checkpoint(learner=learner).read(checkpoint).assert_existing_objects_matched().expect_partial()
        yield np.concatenate([learner.score(row.features) for row in made])


def clients_scores(folder, rows, *asked):
    """What SavedModels give for the rows of a file in a process that knows nothing of tfonline; asked: (SavedModel, batch size)."""
    (folder / "client.py").write_text(CLIENT)
    outputs = [folder / f"scores-{i}.npz" for i in range(len(asked))]
    arguments = [str(a) for (saved, size), output in zip(asked, outputs, strict=True) for a in (saved, size, output)]
    subprocess.run([sys.executable, "-I", folder / "client.py", rows, *arguments], check=True, cwd=folder)
    return [np.load(output) for output in outputs]
