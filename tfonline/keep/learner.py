"""The learner as a part of a checkpoint: its weights and slots, and the rates that they were learned by."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfonline.keep.packed_counts import is_packed
from tfonline.keep.variables import named_variables
from tfonline.model.learner import Learner


class KeptLearner:
    """See Stateful. The plain data are the settings that the slots' units hang on, by flag; {} in checkpoints of format 1.

    Args:
      learner: all of whose variables are kept.

    Attributes:
      rates: those that the weights were learned by.

    Raises:
      ValueError: a variable of the learner would not be kept, as no attribute leads to it.
    """

    name = "learner"
    version = 1

    def __init__(self, learner: Learner):
        self._learner, self.rates = learner, learner.rates
        kept = {id(v) for v in self.variables().values()}
        missing = [v.name for v in learner.variables if id(v) not in kept]
        if missing:
            raise ValueError(
                f"no attribute leads to these variables, so that checkpoints would leave them out: {', '.join(missing)}. Make each "
                "layer an attribute of its model: Keras 3 hides those that stand in a list only."
            )

    def variables(self) -> dict[str, tf.Variable]:
        """See Stateful."""
        return named_variables(self._learner)

    @property
    def counts(self) -> set[str]:
        """The names of large tables of counts, which checkpoints hold packed."""
        counted = {id(v) for of_input in self._learner.model.statistics_of_inputs.values() for v in of_input}
        return {name for name, v in self.variables().items() if id(v) in counted and is_packed(v)}

    def get_state(self) -> dict[str, Any]:
        """See Stateful."""
        return {"rates": self.rates}

    def set_state(self, state: Mapping[str, Any], version: int) -> None:
        """See Stateful; `carry_over` is called for, where the rates are others."""
        self.rates = state["rates"]

    def carry_over(self) -> bool:
        """Has what was learned by other rates go on by those of today; says whether anything was converted."""
        converted = self._learner.carry_over(self.rates)
        self.rates = self._learner.rates
        return converted
