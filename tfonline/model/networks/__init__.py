"""Networks: what stands above the tables. This page is the contract; a network of your own needs nothing else of tfonline.

`--network` names one: a module of this package (`wide_deep`, `dcn_v2`, `deepfm`, `din`, `esmm`), whose function `make` is called,
or a function of yours as `package.module:make`. It is called with what the network gets (`spec`: features.spec.Spec, its inputs
by name with width, dtype and padding, the number of ids, which lists have the ids of which column, the label columns) and with
the flags of the model (`settings`: settings.model.ModelSettings), and gives a Network, not built yet:

    class Logistic(Network):
        def __init__(self, spec, settings):
            table = TableSpec(width=1, optimizer="ftrl", initializer=normal(settings.init_stddev, settings.seed))
            super().__init__(spec, {"linear": table}, name="logistic")
            self.bias = self.add_weight(name="bias", shape=(), initializer="zeros")

        def call(self, rows, inputs):
            logits = tf.reduce_sum(rows["linear"].times(inputs["values"]), axis=[1, 2]) + self.bias
            return dict.fromkeys(self.spec.heads, logits)

A network is a keras.Model that
- **declares its tables**: by name, one at least, each a tables.table.TableSpec with a width, the optimizer that it learns by
  (`ftrl`, `adam`, `adagrad` or `rowwise_adagrad`; --table_optimizers may name another) and an initializer. A table has a row
  for each id, and one of zeros for the padding. Each is an attribute under its name, and stands under it in checkpoints. All
  are looked up by the input `ids`;
- **is called with rows and inputs**: `rows`, by the table's name, are tables.lookup.Rows of the batch's ids, of which
  `times(inputs["values"])` is [B, P, width] of P places, and `spec.by_field` of it [B, F, width] of F fields, a list being one;
  `inputs`, by name, are the spec's, [B, width] each; and `counted`, float32 [B], where rows come once more with late labels: the
  weight with which `observe` has counted the row itself, 0 at its first sight. A row of padding has the spec's padding for inputs,
  and weight 0: it must change nothing, so that rows must not look at each other (no batch normalisation);
- **gives logits by head**: `{label column: float32 [B]}`, for each of `spec.heads`. The loss is the sigmoid cross entropy, weighted
  (--label_weights), summed over the heads; a label that is missing (NaN) adds nothing. It is derived by the rows and by the
  trainable weights, whatever Keras layers are between; the tables' gradients, the optimizers, several replicas and XLA are no
  concern of the network. `by_head` and `sum_by_head` make the dict of [B, H];

It may override
- `dense_variables`: what learns beside the tables, by optimizer. If not told otherwise, all trainable weights learn by Adam;
- `logits_and_scores(rows, inputs)`: where it scores by other weights than it learns by (such as an average of them). `call` gives
  the scores, as serving does; the loss is taken of the first result;
- `statistics`, `observed_features` and `observe(examples, logits)`: variables that count or average what has been seen, updated
  after a batch was scored and learned from, never by gradients. `observe` is given the global batch, and called in each replica:
  it updates this replica's copy, tables.replicas.own(variable), and all copies alike. A row that is `late` (--late_labels) was
  counted before without its click;
- `statistics_of_ids`, `statistics_of_inputs`: which of these have a row an id, or a row for each value of another input;
- `build`: makes all variables, under the strategy's scope. If not told otherwise, one row of padding is passed through `call`;
- `optimizer_names`, `loss_names`, `gradient_dtype`: see Network.

Checkpoints, versions for serving and their SavedModels need nothing more: a variable that is an attribute, or in a layer that is
one, is in them. tests/contracts/networks.py checks a network against all of this.
"""
