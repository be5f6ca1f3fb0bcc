"""Labels that come later than their rows, in a topic of their own."""

import dataclasses

from tfonline import flags
from tfonline.flags import flag, wrong


@dataclasses.dataclass(frozen=True)
class LabelSettings:
    """Outcomes in a topic of their own, and what is learned before they have come."""

    # fmt: off
    label_topic: str = flag("", "Kafka topic of outcomes, on the same brokers: a row of --topic has no label, and is positive "
                            "where an outcome of its key comes within --label_wait_secs. docs/late-labels.md. Empty: rows have "
                            "their labels.")
    label_key: str = flag("", "What joins a row and its outcome: a column of both, such as the request's id; empty: the keys of "
                          "the messages.")
    label_time: str = flag("", "When a row, or an outcome, was: a column of kind time, in both; empty: the messages' times, "
                           "as Kafka has them.")
    label_wait_secs: float = flag(3600.0, "So long after its row an outcome counts.", lower=0.001)
    label_elapsed_secs: float = flag(900.0, "With --late_labels=es_dfm: a row is learned from after so long.", lower=0)
    label_idle_secs: float = flag(300.0, "With --late_labels=wait: outcomes come at least so often. Rows wait while the newest "
                                  "outcome is older than that, for outcomes that are behind would make negatives of positives.",
                                  lower=0)
    label_memory_rows: int = flag(500_000, "So many outcomes, and rows that wait for theirs, are held in memory, some 300 bytes "
                                  "each beside key and message; more in a SQLite file in the model folder.", lower=0)
    # fmt: on

    def __post_init__(self) -> None:
        flags.check(self)
        given = [name for name in ("label_key", "label_time") if getattr(self, name)]
        if given and not self.label_topic:
            raise wrong(f"--{given[0]} is for labels of a topic of their own: give --label_topic, or leave it out.")

    def delay_secs(self, policy: str) -> float:
        """So long after it came a row is learned from first, by the policy of --late_labels."""
        return {"wait": self.label_wait_secs, "es_dfm": self.label_elapsed_secs}.get(policy, 0.0)
