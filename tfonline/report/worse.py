"""Notices a model that predicts no better than one number for all rows would, and says what to try. Imports no TensorFlow."""

from tfonline.report.writers import Scalars
from tfonline.settings.model import OptimizerSettings

# Every model begins above 1; what is still there, or is there again, after so many rows is no beginning.
_LEAST_ROWS = 50_000
_LEAST_REPORTS = 3
# At a run's end, for runs that are shorter than that.
_LEAST_ROWS_AT_END = 10_000
# The wide side adds up a weight a column, so that each step moves a row's score by as many of them. A rate of 0.05 fits the 39
# columns of Criteo; with 300 made-up ones it gave a ne of 1.57, and a rate of 0.0067 one of 0.98.
_RATE_TIMES_COLUMNS = 2.0


class WorseThanTrivial:
    """Looks at the running normalised entropy (ne) at each report.

    Args:
      optimizers: their settings, for the advice.
      num_features: columns other than the label.
    """

    def __init__(self, optimizers: OptimizerSettings, num_features: int):
        self._optimizers, self._num_features = optimizers, num_features
        self._since: float | None = None  # rows at the report at which ne was first seen above 1
        self._reports = 0
        self._warned = False

    def look(self, scalars: Scalars) -> str | None:
        """A warning, once it is due; once more only after ne has been at 1 or below.

        Args:
          scalars: `rows` and the `running/` metrics, as they are reported.
        """
        rows, ne = scalars["rows"], scalars["running/ne"]
        if not ne > 1:  # nor where it is not defined
            self._since, self._reports, self._warned = None, 0, False
            return None
        self._since = rows if self._since is None else self._since
        self._reports += 1
        if self._warned or rows - self._since < _LEAST_ROWS or self._reports < _LEAST_REPORTS:
            return None
        return self._warning(scalars, f"for {rows - self._since:,.0f} rows")

    def at_end(self, scalars: Scalars) -> str | None:
        """The warning at a run's end, where it has not been given yet and the model has seen some rows."""
        if self._warned or not scalars["running/ne"] > 1 or scalars["rows"] < _LEAST_ROWS_AT_END:
            return None
        return self._warning(scalars, f"at the run's end, after {scalars['rows']:,.0f} rows,")

    def _warning(self, scalars: Scalars, when: str) -> str:
        self._warned = True
        return (
            f"{when} the model has predicted worse than one number for all rows would: log loss "
            f"{scalars['running/log_loss']:.4f}, and {scalars['running/trivial_log_loss']:.4f} by the share of clicks alone "
            f"(ne {scalars['running/ne']:.3f}, expected below 1). {self._advice()}"
        )

    def _advice(self) -> str:
        c, fitting = self._optimizers, _RATE_TIMES_COLUMNS / self._num_features
        if c.wide_reduction == "sum" and c.wide_learning_rate > 1.5 * fitting:
            return (
                f"--wide_learning_rate={c.wide_learning_rate:g} is large for {self._num_features} columns, whose weights are added "
                f"up: try --wide_learning_rate={fitting:.1g} in a new --model_dir."
            )
        return (
            "Look whether labels and columns still are what they were; else try lower rates in a new --model_dir: this run has "
            f"--wide_learning_rate={c.wide_learning_rate:g} and --deep_learning_rate={c.deep_learning_rate:g}."
        )
