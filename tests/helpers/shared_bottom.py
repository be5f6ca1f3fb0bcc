"""A network for several labels, as a user would write it. `--network=shared_bottom:make`."""

import keras
import tensorflow as tf

from tfonline.model.networks.network import Network
from tfonline.model.tables.table import TableSpec, normal


class SharedBottom(Network):
    """One layer for all labels, and one for each above it (Caruana, Machine Learning 28, 1997)."""

    def __init__(self, spec, settings):
        s = settings
        table = TableSpec(s.embedding_dim, optimizer="rowwise_adagrad", initializer=normal(s.init_stddev, s.seed))
        super().__init__(spec, {"embedding": table}, name="shared_bottom")
        self.bottom = keras.layers.Dense(s.layers[0], "relu", kernel_initializer=keras.initializers.GlorotUniform(s.seed))
        for i, head in enumerate(spec.heads, 1):
            glorot = keras.initializers.GlorotUniform(s.seed + i)
            setattr(self, f"top_{head}", keras.layers.Dense(1, kernel_initializer=glorot))

    def call(self, rows, inputs):
        # A row of numbers a column; of a list the sum over its values, weighted as the column's combiner says.
        fields = self.spec.by_field(rows["embedding"].times(inputs["values"]))
        shared = self.bottom(tf.reshape(fields, [-1, fields.shape[1] * fields.shape[2]]))
        return {head: tf.squeeze(getattr(self, f"top_{head}")(shared), 1) for head in self.spec.heads}


make = SharedBottom
