"""Does a version score as the trainer did at its checkpoint?"""

import json
import pathlib

import numpy as np


class Trainer:
    """The trainer's own features and model, at a published checkpoint.

    Args:
      model_dir: of the trainer.
    """

    def __init__(self, model_dir: pathlib.Path):
        from tfonline.config import of_flags
        from tfonline.features.make import load_known, make_features
        from tfonline.features.schema import load_schema
        from tfonline.model.learner import make_learner
        from tfonline.model.tables.replicas import make_strategy

        settings = json.loads((model_dir / "config.json").read_text())
        c = of_flags(**{name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()})
        schema = load_schema(c.features.columns)
        known = load_known(schema, c.features, c.vocabulary)
        self._folder = model_dir / "published"
        self._features = make_features(schema, known, c.features, c.vocabulary, vocab_size=c.model.vocab_size)
        self._learner = make_learner(make_strategy(1, "cpu"), self._features.spec, c.model, c.optimizers, vocabulary=c.vocabulary)

    def logits(self, checkpoint: str, rows: list[str], batch: int) -> np.ndarray:
        """float32 [n], by the weights of `checkpoint`; all its other objects are left out."""
        import tensorflow as tf

        tf.train.Checkpoint(learner=self._learner).read(str(self._folder / checkpoint)).expect_partial()
        made = (self._features(tf.constant(rows[i : i + batch])) for i in range(0, len(rows), batch))
        return np.concatenate([self._learner.score(r.features) for r in made])


def saved_logits(version: pathlib.Path, rows: list[str], batch: int) -> np.ndarray:
    """float32 [n], by the SavedModel, loaded anew; rows without the label's field."""
    import tensorflow as tf

    signature = tf.saved_model.load(str(version)).signatures["unlabelled"]
    return np.concatenate([signature(message=tf.constant(rows[i : i + batch]))["logit"] for i in range(0, len(rows), batch)])


def probability(logits: np.ndarray) -> np.ndarray:
    """float64 of float32."""
    return 1 / (1 + np.exp(-logits.astype(np.float64)))
