"""What learning all the time is worth: Monolith's protocol (Liu et al., arXiv 2209.07663, algorithm 1).

A model is trained on the first 5/7 of the rows. The last 2/7 are split into N shards; each is scored as a whole by the model that
is published so far, then learned from, and the model published anew. The more shards, the fresher the model that scores.
"""

import pathlib

import numpy as np

from benchmarks.quality.report import HEAD
from tfonline import config as flags
from tfonline.evaluate.progressive import exact_auc

_SHARDS = (10, 50, 100)


def table(rows: pathlib.Path, dictionaries: pathlib.Path, flagfile: pathlib.Path) -> list[str]:
    """A Markdown table of the AUC over the last 2/7, by number of shards, beside the model that is frozen."""
    stream = _Stream(rows, dictionaries, flagfile)
    found = {"frozen after the first 5/7": stream.auc(0)}
    found |= {f"published {n} times": stream.auc(n) for n in _SHARDS}
    return ["| model over the last 2/7 | AUC |", "|---|---|", *(f"| {name} | {auc:.4f} |" for name, auc in found.items())]


class _Stream:
    """The rows as batches, and learners that all begin alike."""

    def __init__(self, rows: pathlib.Path, dictionaries: pathlib.Path, flagfile: pathlib.Path):
        import tensorflow as tf

        from tfonline.features.batch import Examples
        from tfonline.features.dictionaries import load_dictionaries
        from tfonline.features.make import make_features
        from tfonline.features.schema import load_schema

        self._config = c = flags.parse(["", f"--flagfile={flagfile}"])
        schema = load_schema(c.features.columns)
        known, batch_size = load_dictionaries(str(dictionaries), schema), c.learning.batch_size
        self._features = make_features(schema, known, c.features, c.vocabulary, vocab_size=c.model.vocab_size)
        make = tf.function(self._features.__call__, reduce_retracing=True)
        lines = rows.read_bytes().splitlines()
        self._batches = []
        for first in range(0, len(lines), batch_size):
            part = lines[first : first + batch_size]
            if len(part) == batch_size:  # the last few rows of a stream are no batch
                row = make(tf.constant(part))
                self._batches.append(Examples(row.label, tf.ones([batch_size]), row.features))

    def auc(self, num_shards: int) -> float:
        """The AUC over the last 2/7, scored shard by shard; 0 shards: by the model of the first 5/7."""
        learner, head = self._learner(), int(len(self._batches) * HEAD)
        for batch in self._batches[:head]:
            learner.train(batch)
        logits, labels = [], []
        for shard in np.array_split(np.arange(head, len(self._batches)), max(num_shards, 1)):
            for i in shard:
                (label,) = self._batches[i].label.values()
                logits.append(learner.score(self._batches[i].features).numpy())
                labels.append(label.numpy())
            for i in shard if num_shards else ():
                learner.train(self._batches[i])
        return exact_auc(np.concatenate(logits), np.concatenate(labels))

    def _learner(self):
        from tfonline.model.learner import make_learner
        from tfonline.model.tables.replicas import make_strategy

        f = self._features
        return make_learner(make_strategy(1, "cpu"), f.spec, self._config.model, self._config.optimizers)
