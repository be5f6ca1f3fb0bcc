"""ESMM (Ma et al., SIGIR 2018, arXiv 1804.07931): clicks and conversions over all impressions."""

import tensorflow as tf

from tfonline.features.spec import Spec
from tfonline.flags import wrong
from tfonline.model.networks.network import Logits
from tfonline.model.networks.wide_deep.deep import Deep, refuse_average
from tfonline.model.networks.wide_deep.tower import Tower
from tfonline.model.tables.lookup import Rows
from tfonline.model.tables.table import TableSpec, normal
from tfonline.settings.model import ModelSettings

# A probability ends here: above, its logit would not be finite.
_LARGEST = 0.999999


class Esmm(Deep):
    """`p(click) = s(a)` and `p(conversion) = s(a) s(b)`, with a and b of two towers over shared embeddings, and s the sigmoid.

    The first label is the click, the second one the conversion, which is 0 where there is no click. Both are learned over all
    impressions: pCTCVR = pCTR pCVR. So b, the conversion rate of clicks, is not learned of clicks alone, which are a sample that
    the model itself has chosen. `p(conversion) / p(click)` is that rate.

    Args:
      spec: the inputs.
      settings: the model's flags.

    Raises:
      UserError: there are not two labels, or --average_rows is given (exit 64).
    """

    def __init__(self, spec: Spec, settings: ModelSettings):
        s = settings
        if len(spec.heads) != 2:
            raise wrong(
                f"--network=esmm wants two labels, click and conversion in this order. The columns have {', '.join(spec.heads)}."
            )
        refuse_average(s)
        tables = {"embedding": TableSpec(s.embedding_dim, "adam", normal(s.init_stddev, s.seed))}
        super().__init__(spec, tables, name="esmm", history=s.history)
        dense = (self.width, (0, s.embedding_dim), s.layers, s.dense_init, s.init_stddev)
        self.click = Tower(*dense, s.seed, s.precision, name="click")
        self.conversion = Tower(*dense, s.seed + 50, s.precision, name="conversion")

    @property
    def parts(self) -> list:
        """See Deep."""
        return [*super().parts, self.click, self.conversion]

    def call(self, rows: dict[str, Rows], inputs: dict[str, tf.Tensor]) -> Logits:
        """Logits by head: of pCTR and of pCTCVR."""
        x = self.flat(self.fields(rows["embedding"], inputs), inputs)
        x = self.dense_input(x, rows["embedding"], inputs)
        click, conversion = self.click(x), self.conversion(x)
        log_p = tf.math.log_sigmoid(click) + tf.math.log_sigmoid(conversion)
        # Not log1p or expm1 of -p: TensorFlow would fuse the two where it knows the batch size, and change the last bit of a score.
        p = tf.minimum(tf.sigmoid(click) * tf.sigmoid(conversion), _LARGEST)
        first, second = self.spec.heads
        return {first: click, second: log_p - tf.math.log(1.0 - p)}


make = Esmm
