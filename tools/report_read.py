"""A model, as its folders tell of it: what tools/report.py shows."""

import dataclasses
import pathlib
from collections.abc import Mapping

from report_events import Saved, read_events, read_saved
from report_folder import Folder, Published, read_folder, read_published
from report_series import Run, Series

from tfonline.lifecycle import Exit, UserError


@dataclasses.dataclass(frozen=True)
class Model:
    """A model, and all its runs.

    Attributes:
      folder: the model folder's plain files.
      series: curves, by run of TensorBoard and tag.
      runs: of the trainer, in their order; at least one.
      saved: what the newest checkpoint knows.
      published: the export folder; None where there is none.
    """

    folder: Folder
    series: Mapping[str, Series]
    runs: list[Run]
    saved: Saved
    published: Published | None

    @property
    def name(self) -> str:
        """The model folder's."""
        return self.folder.path.resolve().name

    @property
    def other_labels(self) -> list[str]:
        """Of several labels all but the first, in their order, as the curves have them; [] where there is one."""
        head, tail = "train/running_", "/rows"
        return [tag.removeprefix(head).removesuffix(tail) for tag in self.series if tag.startswith(head) and tag.endswith(tail)]

    def last(self, tag: str) -> float | None:
        """The newest number of a curve; None where there is none."""
        return self.series[tag].last if tag in self.series else None


def read_model(path: pathlib.Path, export_dir: pathlib.Path | None = None) -> Model:
    """All there is to tell of a model.

    Args:
      path: the model folder.
      export_dir: where its versions are; None: where its flags say, if that is there.

    Raises:
      UserError: a folder is missing, is none of tfonline's, or holds nothing yet (exit 66), or cannot be understood (65).
    """
    folder = read_folder(path)
    series, runs = read_events(path)
    if not series or not runs:
        raise UserError(
            f"{path}/tensorboard holds no numbers yet: no step was reported. Wait for the first line `step …`.", Exit.NO_INPUT
        )
    said = folder.flags.get("export_dir")
    if export_dir is None and said and pathlib.Path(said).is_dir():
        export_dir = pathlib.Path(said)
    return Model(folder, series, runs, read_saved(path), read_published(export_dir) if export_dir else None)
