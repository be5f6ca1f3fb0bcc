"""Networks by their name, as --network gives it."""

import dataclasses
import importlib
from types import ModuleType

from tfonline.features.spec import Spec
from tfonline.flags import wrong
from tfonline.model.networks.network import Network
from tfonline.settings.model import OPTIMIZERS, ModelSettings


def make_network(spec: Spec, settings: ModelSettings) -> Network:
    """The network that the flags ask for, not built yet.

    Raises:
      UserError: there is none of this name, or it makes no Network, or one without a table; an optimizer or a table of
        --table_optimizers is not there (exit 64).
    """
    make, name = find(settings.network)[1], settings.network
    network = make(spec, settings)
    if not isinstance(network, Network):
        raise wrong(f"--network={name} gives a {type(network).__name__}. Expected a Network of tfonline.model.networks.network.")
    if not network.tables:
        raise wrong(f"--network={name} declares no table. Expected one at least, see tfonline/model/networks/__init__.py.")
    for table, optimizer in settings.optimizer_of.items():
        if table not in network.tables:
            raise wrong(f"--table_optimizers names a table {table}, and --network={name} has {', '.join(network.tables)}.")
        network.tables[table].spec = dataclasses.replace(network.tables[table].spec, optimizer=optimizer)
    if unknown := {t.spec.optimizer for t in network.tables.values()} - {*OPTIMIZERS}:
        raise wrong(f"--network={name} has tables that learn by {', '.join(unknown)}. Expected one of {', '.join(OPTIMIZERS)}.")
    network.late_labels = settings.late_labels
    return network


def find(name: str) -> tuple[ModuleType, object]:
    """A network's module, and the function that makes it.

    Raises:
      UserError: there is none of this name (exit 64).
    """
    module_name, _, function = name.partition(":")
    own = bool(function)
    module_name, function = (module_name, function) if own else (f"{__package__}.{name}", "make")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as e:
        if not (e.name and f"{module_name}.".startswith(f"{e.name}.")):  # it is there, and misses another
            raise
        raise wrong(
            f"--network={name}: there is no module {module_name}. Expected wide_deep, dcn_v2, deepfm, din, esmm, or a function of "
            "yours as package.module:make, whose package Python finds (PYTHONPATH)."
        ) from e
    if not callable(getattr(module, function, None)):
        raise wrong(f"--network={name}: {module_name} has no function {function}. Expected one of (spec, settings) to a Network.")
    return module, getattr(module, function)
