"""Why a run could not go on, for the person who has to mend it: the errors that the training loop ends with."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence

import tensorflow as tf

from tfonline.config import Config
from tfonline.lifecycle import Exit, UserError
from tfonline.publish.checkpoints import Position
from tfonline.stream.windows import Window


def step_failed(error: tf.errors.OpError, config: Config, position: Position, last_saved: str) -> UserError:
    """TensorFlow could not score, learn or copy the model. To start again by itself would fail again (exit 71).

    Args:
      error: what TensorFlow said.
      config: the flags.
      position: where the model is.
      last_saved: the path of the newest checkpoint.
    """
    if isinstance(error, tf.errors.ResourceExhaustedError):
        how = (
            f"Memory ran out. Use a smaller --batch_size ({config.batch_size}), --steps_per_call ({config.steps_per_call}) or "
            f"--embedding_dim ({config.embedding_dim}), or --nobackground_save, which does without a copy of the model."
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
    record = {"what": what, "step": step, "windows": [dataclasses.asdict(w) for w in windows]}
    path.write_text(json.dumps(record, indent=2) + "\n")
    numbers = f"window {windows[0].number}" + (f" to {windows[-1].number}" if len(windows) > 1 else "")
    return UserError(
        f"{what}, in {numbers} (offsets in {path}). Nothing of it is saved; the last good model is {last_saved}. Look at the rows, "
        "or lower the learning rates; or pass over it once with --skip_window=NUMBER"
        + ("." if len(windows) == 1 else " (which of them it is, a run with --checkpoint_every_steps=1 says)."),
        Exit.NOT_FINITE,
    )
