"""A model that learns lessons in the trainer's own way: its features, its learner, its policies; in this process, without Kafka."""

import numpy as np
import tensorflow as tf

from benchmarks.delayed import schedule
from benchmarks.delayed.planted import ROWS
from benchmarks.delayed.schedule import Lesson, Way
from tfonline.config import Config
from tfonline.features.batch import Examples
from tfonline.features.make import load_known, make_features
from tfonline.features.schema import load_schema
from tfonline.model.learner import make_learner
from tfonline.model.tables.replicas import make_strategy

# Rows a step: those of a window, and the late ones that its end brings. A longer lesson takes several steps of equal size.
_PLACES = 160


class Replay:
    """Models of one policy over the same rows; each begins as the flags have it.

    Args:
      config: the trainer's flags, --late_labels among them.
      lines: rows as in the topic, with a label, which is not looked at.
    """

    def __init__(self, config: Config, lines: list[bytes]):
        self._lines = np.array(lines, object)
        schema = load_schema(config.features.columns)
        known = load_known(schema, config.features, config.vocabulary)
        features = make_features(schema, known, config.features, config.vocabulary, vocab_size=config.model.vocab_size)
        self._learner = make_learner(
            make_strategy(1, "cpu"), features.spec, config.model, config.optimizers, vocabulary=config.vocabulary
        )
        self._begin, self._started = self._values(), {}
        (head,) = features.spec.heads

        @tf.function(
            autograph=False,
            input_signature=[tf.TensorSpec([None], dtype) for dtype in (tf.string, tf.float32, tf.bool)],
        )
        def batch(message: tf.Tensor, label: tf.Tensor, late: tf.Tensor) -> Examples:
            padding = Examples({head: 0.0}, 0.0, features.spec.padding, False)
            rows = Examples({head: label}, tf.ones_like(label), features(message).features, late)
            return tf.nest.map_structure(_padded, rows, padding)

        self._batch = batch
        self._to_score = tf.function(lambda message: features(message).features, autograph=False)

    def scores(self, way: Way, clicks: np.ndarray, delays: np.ndarray, first: int, known: bool) -> np.ndarray:
        """Logits float32 [rows of the stream]: of each row by the model of the moment at which it comes.

        Args:
          way: to learn.
          clicks: bool [rows], of all rows.
          delays: float64 [rows], seconds.
          first: the first row of the stream; a multiple of ROWS.
          known: whether the model begins with all labels of the rows before; else it has learned them in their time, as it goes on.
        """
        self._assign(self._begin)
        if known:
            self._start(way, clicks[:first], delays[:first])
        begin, found = first if known else 0, []
        for number, lesson in enumerate(schedule.stream(way, clicks[begin:], delays[begin:])):
            row = begin + number * ROWS
            if row >= first:
                features = self._to_score(tf.constant(self._lines[row : row + ROWS]))
                found.append(self._learner.score(features).numpy())
            self._learn(lesson, begin)
        return np.concatenate(found)

    def _start(self, way: Way, clicks: np.ndarray, delays: np.ndarray) -> None:
        """The model that has learned the history as the way does; made once."""
        key = way.windows if way.rule == "elapsed" else 0
        if key not in self._started:
            for lesson in schedule.history(way, clicks, delays):
                self._learn(lesson, 0)
            self._started[key] = self._values()
        self._assign(self._started[key])

    def _learn(self, lesson: Lesson, first: int) -> None:
        """Learns rows, whose numbers count from the first one."""
        if not len(lesson.rows):
            return
        for part in np.array_split(np.arange(len(lesson.rows)), -(-len(lesson.rows) // _PLACES)):
            message = tf.constant(self._lines[first + lesson.rows[part]])
            self._learner.train(self._batch(message, tf.constant(lesson.label[part]), tf.constant(lesson.late[part])))

    def _values(self) -> list[np.ndarray]:
        return [variable.numpy() for variable in self._learner.variables]

    def _assign(self, values: list[np.ndarray]) -> None:
        for variable, value in zip(self._learner.variables, values, strict=True):
            variable.assign(value)


def _padded(x: tf.Tensor, padding: float) -> tf.Tensor:
    """[n, ...] to [_PLACES, ...]."""
    behind = [[0, _PLACES - tf.shape(x)[0]]] + [[0, 0]] * (x.shape.rank - 1)
    return tf.ensure_shape(tf.pad(x, behind, constant_values=tf.constant(padding, x.dtype)), [_PLACES, *x.shape[1:]])
