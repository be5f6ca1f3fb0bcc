"""Second names of checkpoints, in `<model_dir>/published`: a checkpoint stays for as long as a version that was made of it."""

import hashlib
import pathlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

from tfonline.keep import checkpoint_files
from tfonline.publish.links import link_or_copy


class Pins:
    """The checkpoints that are kept.

    Args:
      folder: where their second names are; made where it is not there.
      say: where lines go.

    Raises:
      OSError: the folder cannot be made.
    """

    def __init__(self, folder: pathlib.Path, say: Callable[[str], None]):
        self._folder, self._say, self._said = folder, say, False
        folder.mkdir(exist_ok=True)

    def keep(self, checkpoint: pathlib.Path) -> tuple[pathlib.Path, dict[str, Any]]:
        """Keeps a checkpoint; gives the path under which it stays, and what a manifest says so that `find` finds it.

        Raises:
          OSError: it cannot be kept.
        """
        for file in checkpoint_files.files(checkpoint):
            pin = self._folder / file.name
            pin.unlink(missing_ok=True)
            why = link_or_copy(file, pin)
            if why and not self._said:
                self._said = True
                self._say(f"{self._folder}: no hard links there ({why.strerror}), so that published checkpoints are copied")
        kept = self._folder / checkpoint.name
        return kept, {"checkpoint": kept.name, "checkpoint_index": _digest(kept)}

    def find(self, manifest: Mapping[str, Any]) -> pathlib.Path | None:
        """The path of the checkpoint that a version was made of; None where it is not kept here: then it is of another model.

        Another model has checkpoints of the same names, so that the name alone says nothing.
        """
        kept = self._folder / str(manifest.get("checkpoint"))
        try:
            return kept if _digest(kept) == manifest.get("checkpoint_index") else None
        except OSError:
            return None

    def only(self, names: Collection[str]) -> None:
        """Removes all others."""
        for pin in self._folder.iterdir():
            if pin.name.partition(".")[0] not in names:
                pin.unlink()


def _digest(checkpoint: pathlib.Path) -> str:
    """SHA-256 in hex of a checkpoint's index, in which there is a checksum of each tensor."""
    return hashlib.sha256(checkpoint.with_name(f"{checkpoint.name}.index").read_bytes()).hexdigest()
