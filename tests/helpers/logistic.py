"""The smallest network: a logistic regression over one table, as a user would write it. `--network=logistic:make`."""

import tensorflow as tf

from tfonline.model.networks.network import Network
from tfonline.model.tables.table import TableSpec, normal


class Logistic(Network):
    def __init__(self, spec, settings):
        table = TableSpec(width=1, optimizer="ftrl", initializer=normal(settings.init_stddev, settings.seed))
        super().__init__(spec, {"linear": table}, name="logistic")
        self.bias = self.add_weight(name="bias", shape=(), initializer="zeros")

    def call(self, rows, inputs):
        logits = tf.reduce_sum(rows["linear"].times(inputs["values"]), axis=[1, 2]) + self.bias
        return dict.fromkeys(self.spec.heads, logits)


make = Logistic


def gives_no_network(spec, settings):
    return spec.num_ids
