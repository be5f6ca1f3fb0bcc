"""What is told of a run."""

import dataclasses

from tfonline import flags
from tfonline.flags import flag


@dataclasses.dataclass(frozen=True)
class ReportingSettings:
    """How often, and how much."""

    # fmt: off
    metric_rows: int = flag(100_000, "The running metrics forget with this many rows (exponential decay).",
                            lower=1)
    report_secs: float = flag(10.0, "A console line and TensorBoard scalars at most this often.", lower=0)
    loss_log_every_steps: int = flag(100, "Every how many steps loss.log gets a line. 0: never.", lower=0)
    save_predictions: bool = flag(False, "Write partition, offset, label and logit of each trained row to "
                                  "predictions.bin, as scored before it was learned from.")
    dry_run: bool = flag(False, "Check flags, files, broker, topic, first rows, memory, disk and checkpoint, "
                         "print what a run would start from, and train nothing.")
    # fmt: on

    def __post_init__(self) -> None:
        flags.check(self)
