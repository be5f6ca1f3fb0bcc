"""Wide & Deep, the default network."""

from tfonline.config import Config
from tfonline.features.spec import Spec
from tfonline.model.networks.wide_deep.model import WideDeep
from tfonline.model.networks.wide_deep.sizes import reckon

__all__ = ["make", "reckon"]


def make(spec: Spec, config: Config) -> WideDeep:
    """The network that the flags ask for, not built yet."""
    c = config
    return WideDeep(spec, c.embedding_dim, c.layers, c.dense_init, c.init_stddev, c.seed, c.history, c.average_rows, c.precision)
