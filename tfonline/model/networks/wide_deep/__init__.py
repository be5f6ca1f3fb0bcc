"""Wide & Deep, the default network."""

from tfonline.features.spec import Spec
from tfonline.model.networks.wide_deep.model import WideDeep
from tfonline.model.networks.wide_deep.sizes import reckon
from tfonline.settings.model import ModelSettings

__all__ = ["make", "reckon"]


def make(spec: Spec, settings: ModelSettings) -> WideDeep:
    """The network that the flags ask for, not built yet."""
    s = settings
    return WideDeep(spec, s.embedding_dim, s.layers, s.dense_init, s.init_stddev, s.seed, s.history, s.average_rows, s.precision)
