"""What a checkpoint holds beside the variables, as text: its format, what the model was made for, and each part's plain data.

Format 4 is one JSON object under the name `state`. So was format 3, whose variables were all as they are, and none packed (see
packed_counts). Formats 1 and 2 had the position, with all else in it, under `position` and the metrics under `metrics`. Imports no
TensorFlow.
"""

import json
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from tfonline.lifecycle import Exit, UserError
from tfonline.state import Position, Stateful

FORMAT = 4
STATE = "state"
# Where older versions of tfonline look. They find a format above theirs and say so.
OLDER_LOOK_HERE = "position"
_METRICS = "metrics"


class Contents(NamedTuple):
    """What a checkpoint holds beside the variables.

    Attributes:
      format: as it was read.
      contract: what the weights were made for, see contract.make_contract.
      parts: by name, the version and the plain data of each part.
    """

    format: int
    contract: dict[str, Any]
    parts: dict[str, tuple[int, Any]]

    @property
    def position(self) -> Position:
        """Where the model is."""
        position = Position(next=[], start=[])
        self.give(position)
        return position

    def give(self, part: Stateful) -> None:
        """Has a part take over its plain data; one that the checkpoint does not know stays as it is."""
        if part.name in self.parts:
            version, state = self.parts[part.name]
            part.set_state(state, version)


def write(contract: Mapping[str, Any], parts: Iterable[Stateful]) -> dict[str, str]:
    """The texts of a checkpoint, by name."""
    states = {part.name: {"version": part.version, "state": part.get_state()} for part in parts}
    return {
        STATE: json.dumps({"format": FORMAT, "contract": contract, "parts": states}),
        OLDER_LOOK_HERE: json.dumps({"format": FORMAT}),
    }


def read(text: Callable[[str], str | bytes | None], where: str | pathlib.Path) -> Contents:
    """The contents of a checkpoint of any format.

    Args:
      text: gives the text of a name; None where the checkpoint has none.
      where: the checkpoint's path, for the error.

    Raises:
      KeyError: no tfonline has written it.
      json.JSONDecodeError: a text is no JSON.
      UserError: a newer version of tfonline has written it (exit 78).
    """
    written = text(STATE) or text(OLDER_LOOK_HERE)
    if written is None:
        raise KeyError(f"it has neither a {STATE} nor a {OLDER_LOOK_HERE}")
    found = json.loads(written)
    form = found.get("format", 1)
    if form > FORMAT:
        raise UserError(
            f"{where} has format {form}; this version of tfonline reads formats 1 to {FORMAT}. A newer version has written it. Use "
            "that version. Nothing was changed.",
            Exit.CONFIG,
        )
    if form < 3:
        return _of_one_text(form, found, text(_METRICS))
    parts = {name: (part["version"], part["state"]) for name, part in found["parts"].items()}
    return Contents(form, found["contract"], parts)


def _of_one_text(form: int, position: dict[str, Any], metrics: str | bytes | None) -> Contents:
    """Formats 1 and 2: contract, rates and the lengths of files stood in the position."""
    others = {name: position.pop(name, {}) for name in ("contract", "rates", "files")}
    position.pop("format", None)
    parts = {
        "position": (1, position),
        "learner": (1, {"rates": others["rates"]}),
        "files": (1, others["files"]),
        "metrics": (1, metrics.decode() if isinstance(metrics, bytes) else metrics),
    }
    return Contents(form, others["contract"], parts)
