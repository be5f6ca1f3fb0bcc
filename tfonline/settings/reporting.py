"""What is told of a run."""

import dataclasses

from tfonline import flags
from tfonline.flags import flag, wrong
from tfonline.report.console import FORMATS

_LARGEST_PORT = 65_535

_LEAST_DRIFT_ROWS = 1000


@dataclasses.dataclass(frozen=True)
class ReportingSettings:
    """How often, and how much."""

    # fmt: off
    metric_rows: int = flag(100_000, "The running metrics forget with this many rows (exponential decay).",
                            lower=1)
    log_format: str = flag("text", "The console's lines: text for people, or json, an object a line with time, level, "
                           "event, text and fields.", choices=FORMATS)
    report_secs: float = flag(10.0, "A console line and TensorBoard scalars at most this often.", lower=0)
    loss_log_every_steps: int = flag(100, "Every how many steps loss.log gets a line. 0: never.", lower=0)
    monitor_port: int = flag(0, "Port at which the trainer tells Prometheus of itself (/metrics), and whether it lives "
                             "(/healthz) and reads (/readyz). 0: none. Of several workers, the chief listens and tells of "
                             "all.", lower=0)
    monitor_host: str = flag("127.0.0.1", "Address of --monitor_port. There is neither a password nor TLS: 0.0.0.0 is for a "
                             "network that only those reach who may know.")
    save_predictions: bool = flag(False, "Write partition, offset, label and logit of each trained row to "
                                  "predictions.bin, as scored before it was learned from.")
    drift_rows: int = flag(-1, "Every so many rows, what the columns hold is compared with what they held in the model's "
                           "first so many rows, and in blocks of a tenth of them the scores with the labels. 0: never. -1: every "
                           "10,000, or ten times --batch_size x --steps_per_call where that is more.", lower=-1)
    drift_psi: float = flag(0.25, "A population stability index (PSI) of a column above this is told as drift.", lower=0)
    metrics_by: str = flag("", "A column of kind category: metrics of its largest values, and the AUC within values (GAUC).")
    dry_run: bool = flag(False, "Check flags, files, broker, topic, first rows, memory, disk and checkpoint, "
                         "print what a run would start from, and train nothing.")
    # fmt: on

    def __post_init__(self) -> None:
        flags.check(self)
        if self.monitor_port > _LARGEST_PORT:
            raise wrong(f"--monitor_port={self.monitor_port} is too large. Expected at most {_LARGEST_PORT}.")
        if not self.monitor_host:
            raise wrong("--monitor_host is empty. Give an address, such as 127.0.0.1.")
        if 0 < self.drift_rows < _LEAST_DRIFT_ROWS:
            raise wrong(
                f"--drift_rows={self.drift_rows} is too small: chance looks like drift. Use 0, or at least {_LEAST_DRIFT_ROWS}."
            )
