"""What is kept, and what is published of it."""

import dataclasses
import os

from tfonline import flags
from tfonline.flags import flag, wrong


@dataclasses.dataclass(frozen=True)
class KeepingSettings:
    """The model folder, and when it gets a checkpoint."""

    # fmt: off
    model_dir: str = flag("runs/model", "Folder of checkpoints, journal, logs and summary. The same command resumes "
                          "from it.")
    new_model: bool = flag(False, "Begin a new model where --model_dir holds what another has left and no checkpoint "
                           "that can be read; that is moved into a folder before-<time> there. A checkpoint that can be read is "
                           "resumed from all the same.")
    checkpoint_every_steps: int = flag(0, "Save at the window's end that follows this many steps. 0: by time.",
                                       lower=0)
    checkpoint_secs: float = flag(60.0, "Save at the window's end that follows this many seconds. 0: by steps only.",
                                  lower=0)
    background_save: bool = flag(True, "Write checkpoints from a copy in memory while training goes on; the copy is as "
                                 "large as the checkpoint. Without it, training waits for the disk.")
    keep_checkpoints: int = flag(5, "How many checkpoints to keep; the newest is safe once it is on disk, so at "
                                 "least 2.", lower=2)
    drain_secs: float = flag(20.0, "A run ends this long after SIGTERM or Ctrl-C at the latest. A window that cannot "
                             "end in four fifths of it is dropped unsaved and read again by the next run.", lower=0)
    # fmt: on

    def __post_init__(self) -> None:
        flags.check(self)
        if not self.checkpoint_every_steps and not self.checkpoint_secs:
            raise wrong("--checkpoint_every_steps=0 and --checkpoint_secs=0: nothing would ever be saved. Set one of them.")


@dataclasses.dataclass(frozen=True)
class ServingSettings:
    """Models for serving, and the gate before them."""

    # fmt: off
    export_dir: str = flag("", "Folder in which models are published for serving, as SavedModels under rising numbers. "
                           "Empty: nothing is published.")
    export_every_secs: float = flag(300.0, "Publish the checkpoint that follows this many seconds. 0: by windows only.",
                                    lower=0)
    export_every_windows: int = flag(0, "Publish the checkpoint that follows this many windows. 0: by time.", lower=0)
    keep_exports: int = flag(5, "How many published versions to keep, and with them their checkpoints.", lower=2)
    gate_rows: int = flag(50_000, "A model is judged by its scores of so many last rows, each scored before it was "
                          "learned from.", lower=1)
    gate_max_regression: float = flag(0.002, "It is not published where its log loss is above the published "
                                      "version's on the same rows by more than this.", lower=0)
    gate_min_auc: float = flag(0.55, "... nor where its AUC is not above this. 0: any.", lower=0)
    gate_calibration: float = flag(0.1, "... nor where mean prediction / mean label is further from 1. 0: any.",
                                   lower=0)
    rollback_on_regression: float = flag(0.0, "Go back to the version before, and publish no more until `tools/models.py resume`, "
                                         "where the newest one's log loss is above that version's by more than this (and five "
                                         "standard errors) over 1,000 to --gate_rows of the last rows. Both score the stream, "
                                         "which costs a forward pass. 0: never.", lower=0)
    delta_every_secs: float = flag(0.0, "Between two versions, publish what has changed after so many seconds, at a window's end: "
                                   "tfonline's server serves it at once. 0: whole versions only.", lower=0)
    delta_dir: str = flag("", "Folder of these deltas. Empty: deltas in --export_dir.")
    replace_foreign: bool = flag(False, "Publish also over a version that cannot be scored on the same rows: one for "
                                 "other columns, or a damaged one. Without it, nothing is published over such a version.")
    # fmt: on

    def __post_init__(self) -> None:
        flags.check(self)
        if self.export_dir and not self.export_every_secs and not self.export_every_windows:
            raise wrong("--export_every_secs=0 and --export_every_windows=0: nothing would ever be published. Set one of them.")
        if self.delta_every_secs and not self.export_dir:
            raise wrong(f"--delta_every_secs={self.delta_every_secs:g} needs versions to build on. Set --export_dir, too.")

    @property
    def deltas(self) -> str:
        """The folder of deltas."""
        return self.delta_dir or delta_dir_of(self.export_dir)


def delta_dir_of(export_dir: str) -> str:
    """Where deltas are if nobody says so: beside the versions; TensorFlow Serving passes over what is named by no number."""
    return os.path.join(export_dir, "deltas")
