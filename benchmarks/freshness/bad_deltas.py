"""Each kind of bad delta, put into a copy of a folder: does a server find it, and does it stay where it was?"""

import pathlib
import shutil

from tfonline.deltas.file import read, write
from tfonline.deltas.folder import DeltaFolder, Key
from tfonline.publish.versions import Versions
from tfonline.serving.models import Models

KINDS = {"missing": "missing", "doubled": "misnamed", "swapped": "misnamed", "cut": "unreadable", "foreign": "foreign"}


def found(models: pathlib.Path, version: int, copies: pathlib.Path) -> list[str]:
    """The kinds that are found.

    Args:
      models: the export folder.
      version: after which there are three deltas of one epoch at least.
      copies: a folder for copies of it.
    """
    state = Versions(models).manifest(version)["state"]
    begin = Key(state["epoch"], state["number"])
    keys = [key for key in DeltaFolder(models / "deltas").keys if key > begin]
    first, second, third = next(
        some for some in zip(keys, keys[1:], keys[2:], strict=False) if len({key.epoch for key in some}) == 1
    )
    kinds = []
    for kind, problem in KINDS.items():
        copy = copies / kind
        shutil.copytree(models / str(version), copy / str(version))
        folder = DeltaFolder(copy / "deltas")
        folder.path.mkdir()
        for key in (k for k in keys if k <= third):
            shutil.copyfile(models / "deltas" / folder.file(key).name, folder.file(key))
        _spoil(kind, folder, second, third)
        follower = Models(Versions(copy), lambda line: None)
        follower.look()
        at = follower.current.weights.at
        right = f"{follower.current.weights.computed():016x}" == read(folder.file(first)).header.checksum
        if follower.deltas.problems[problem] == 1 and (at.epoch, at.number) == first and right:
            kinds.append(kind)
        shutil.rmtree(copy)
    return kinds


def _spoil(kind: str, folder: DeltaFolder, second: Key, third: Key) -> None:
    """Makes the second of three deltas a bad one."""
    file, other = folder.file(second), folder.file(third)
    match kind:
        case "missing":
            file.unlink()
        case "doubled":
            file.write_bytes(folder.file(Key(second.epoch, second.number - 1)).read_bytes())
        case "swapped":
            contents = file.read_bytes(), other.read_bytes()
            file.write_bytes(contents[1])
            other.write_bytes(contents[0])
        case "cut":
            file.write_bytes(file.read_bytes()[:-1])
        case "foreign":
            delta = read(file)
            name, change = next(iter(delta.changes.items()))
            changes = {**delta.changes, name: change._replace(values=change.values + 1)}
            file.unlink()
            write(file, delta.header, changes)
