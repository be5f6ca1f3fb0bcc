"""Notes what a resumed run has to know of what stands beside the model."""

from collections.abc import Callable, Mapping

from tfonline.actions import Action
from tfonline.events import Event, Saving, Seen
from tfonline.report.files import SideFiles
from tfonline.state import FileLengths, Position


def make_note(
    position: Position,
    lengths: FileLengths,
    files: SideFiles,
    stop_at: Callable[[], list[int] | None] = lambda: None,
    of_all_workers: Callable[[Mapping[str, int]], dict[str, int]] | None = None,
) -> Action:
    """An action.

    Args:
      position: told where the run ends.
      lengths: told how long the side files are.
      files: of this process.
      stop_at: where the run ends, as far as it is known.
      of_all_workers: adds the lengths of the other workers' files, and waits for them; not at a new model's first checkpoint, with
        which the chief begins before the others.
    """

    def note(event: Event, _: Seen | None) -> None:
        if isinstance(event, Saving):
            own = files.lengths()
            lengths.by_name = of_all_workers(own) if of_all_workers and event.windows else own
            position.stop = stop_at()

    return note
