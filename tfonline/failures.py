"""Why a run could not go on, for the person who has to mend it: the errors that the training loop ends with."""

import json
import pathlib
from collections.abc import Callable, Sequence

import tensorflow as tf

from tfonline.lifecycle import Exit, UserError
from tfonline.settings.learning import LearningSettings
from tfonline.state import Position
from tfonline.stream.window import Window


class Failures:
    """The errors of a run.

    Args:
      model_dir: the model folder.
      on_lost_rows: as in the flag.
      learning: how steps are taken.
      position: where the model is.
      known: the error that has ended the plan or a read, if there is one.
      lost: what retention has removed of windows that are still to be read, as Planner.rows_lost_since_planned says it.
      last_saved: the path of the newest checkpoint; waits for one that is being written. None: the chief knows.
      with_others: whether other workers learn in step with this one.
    """

    def __init__(
        self,
        model_dir: str,
        on_lost_rows: str,
        learning: LearningSettings,
        position: Position,
        known: Callable[[], Exception | None],
        lost: Callable[[], str],
        last_saved: Callable[[], str] | None,
        with_others: bool,
    ):
        self._model_dir, self._on_lost_rows, self._learning = model_dir, on_lost_rows, learning
        self._position, self._known, self._lost = position, known, lost
        self._last_saved, self._with_others = last_saved, with_others

    def reading(self, error: tf.errors.OpError) -> Exception:
        """The error to end with where rows could not be read or prepared; asks the broker whether retention has overtaken them."""
        return (
            (self._with_others and self._another_is_gone(error))
            or self._known()
            or self.rows_lost()
            or UserError(f"reading or preparing rows failed: {error.message}", Exit.TRY_AGAIN)
        )

    def step(self, error: tf.errors.OpError) -> Exception:
        """The error to end with where TensorFlow could not score, learn or copy the model."""
        if self._with_others and (gone := self._another_is_gone(error)):
            return gone
        return step_failed(error, self._learning, self._position, self._newest())

    def not_finite(self, what: str, windows: Sequence[Window]) -> UserError:
        """The error to end with where the loss or a weight is NaN or infinite."""
        if not self._last_saved:
            return UserError(f"{what}: see the chief's log", Exit.NOT_FINITE)
        return not_finite(what, windows, self._model_dir, self._position.step, self._newest())

    def rows_lost(self) -> UserError | None:
        """The error where retention has removed rows of a window that is still to be read."""
        return rows_lost(self._lost(), self._on_lost_rows)

    def _newest(self) -> str:
        return self._last_saved() if self._last_saved else "the chief's last checkpoint"

    def _another_is_gone(self, error: tf.errors.OpError) -> Exception | None:
        """The error to end with where another worker is gone, or this one's rows have failed meanwhile."""
        known = self._known() or self.rows_lost()
        if known or "ollective" not in error.message:
            return known or None
        # Why it is gone stands in its own log; here there is only how that was noticed.
        how = error.message.partition("Collective ops is aborted by: ")[2].splitlines()[:1]
        return UserError(f"another worker is gone, see its log ({''.join(how)})", Exit.TRY_AGAIN)


def step_failed(error: tf.errors.OpError, learning: LearningSettings, position: Position, last_saved: str) -> UserError:
    """TensorFlow could not score, learn or copy the model. To start again by itself would fail again (exit 71).

    Args:
      error: what TensorFlow said.
      learning: how steps are taken.
      position: where the model is.
      last_saved: the path of the newest checkpoint.
    """
    if isinstance(error, tf.errors.ResourceExhaustedError):
        how = (
            f"Memory ran out. Use a smaller --batch_size ({learning.batch_size}), --steps_per_call ({learning.steps_per_call}) or "
            "--embedding_dim, or --nobackground_save, which does without a copy of the model."
        )
    else:
        how = "Where XLA is named above, leave out --jit_compile. Else this is a fault of tfonline or of TensorFlow."
    return UserError(
        f"the train step failed, at step {position.step + 1} in window {position.window}: {error.message}\n{how} The last saved "
        f"model is {last_saved}; what came after it will be read again.",
        Exit.STEP,
    )


def rows_lost(lost: str, on_lost_rows: str) -> UserError | None:
    """Retention has removed rows of a window that was still to be read; None where `lost` says that it has not."""
    if not lost:
        return None
    return UserError(
        f"rows were removed from the log while their window waited to be read (partition: offsets): {lost}. Keep the topic's "
        "retention above the lag; the same command goes on behind them with --on_lost_rows=skip.",
        Exit.NO_INPUT if on_lost_rows == "fail" else Exit.TRY_AGAIN,
    )


def not_finite(what: str, windows: Sequence[Window], model_dir: str, step: int, last_saved: str) -> UserError:
    """The loss or a weight is NaN or infinite. Writes the windows that it may come from to failed_windows.json."""
    path = pathlib.Path(model_dir) / "failed_windows.json"
    record = {"what": what, "step": step, "windows": [w.data for w in windows]}
    path.write_text(json.dumps(record, indent=2) + "\n")
    numbers = f"window {windows[0].number}" + (f" to {windows[-1].number}" if len(windows) > 1 else "")
    return UserError(
        f"{what}, in {numbers} (offsets in {path}). Nothing of it is saved; the last good model is {last_saved}. Look at the rows, "
        "or lower the learning rates; or pass over it once with --skip_window=NUMBER"
        + ("." if len(windows) == 1 else " (which of them it is, a run with --checkpoint_every_steps=1 says)."),
        Exit.NOT_FINITE,
    )
