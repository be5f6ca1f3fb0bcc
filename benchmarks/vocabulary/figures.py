"""Figures as they come, the table of them, and the closing line. Imports nothing that a part may lack."""

import json
import pathlib

# The figures of the closing line, in its order.
_CLOSING = (
    "auc", "log_loss", "dictionary_auc", "buckets_auc", "vw_auc", "rows", "speed_b100", "speed_b1000", "features",
    "features_without_crosses", "drift_growing", "drift_buckets", "drift_frozen", "drift_still", "drift_best", "drift_closed", "drift_regained",
    "memory_growth", "kills", "weights_equal",
)  # fmt: skip


class Figures:
    """What is measured: each figure is printed and appended to results.jsonl at once.

    Args:
      path: of results.jsonl; the figures of earlier runs stay in it.

    Attributes:
      part: that is being measured.
    """

    def __init__(self, path: pathlib.Path):
        self._path, self.part = path, ""
        self._lines: list[str] = []

    def note(self, name: str, value: float | list[float]) -> None:
        """A figure; a list, such as a curve, is only written to results.jsonl."""
        with self._path.open("a") as results:
            results.write(json.dumps({"part": self.part, "name": name, "value": value}) + "\n")
        if isinstance(value, list):
            return
        text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.5g}"
        print(f"{self.part}: {name:<70}{text:>14}", flush=True)
        self._lines.append(f"| {self.part} | {name} | {text} |")

    def table(self) -> list[str]:
        """The figures of this run in Markdown."""
        return ["| part | figure | measured |", "|---|---|---|", *self._lines]


def closing_line(found: dict[str, str]) -> str:
    """What was measured, in the order in which it is always told."""
    return f"vocabulary: {' '.join(f'{name}={found[name]}' for name in _CLOSING if name in found)}"
