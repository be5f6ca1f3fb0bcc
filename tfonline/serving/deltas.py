"""Has the served weights move on by the deltas that a trainer makes between two versions."""

import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from tfonline.deltas.file import Delta, Header, Unreadable, read, read_header
from tfonline.deltas.folder import DeltaFolder, Key
from tfonline.deltas.weights import At, DoesNotFit, Weights, of_manifest

# What can be wrong with deltas: one that should be there is not; a file is cut or changed; it holds another delta than its name
# says (doubled, swapped); it is of another model, or leads elsewhere than it says.
PROBLEMS = ("missing", "unreadable", "misnamed", "foreign")
# What a version must have in common with the one before it to be served by the same graph.
_SAME_GRAPH = ("contract", "label", "message_format", "messages", "libraries", "schema_fingerprint")


class Deltas:
    """Follows a folder of deltas. Reads it only.

    Args:
      folder: of the deltas.
      say: where lines go.

    Attributes:
      applied: how many were.
      secs: how long requests waited for that, and all else that it took.
      problems: how many were found, by PROBLEMS; each file counts once.
      why: what is wrong now; empty: nothing.
    """

    def __init__(self, folder: DeltaFolder, say: Callable[[str], None]):
        self._folder, self._say = folder, say
        self.applied, self.secs = 0, 0.0
        self.problems = dict.fromkeys(PROBLEMS, 0)
        self.why = ""
        self._counted: set[tuple] = set()
        self._now: list[str] = []
        # Of what is served: checksums of versions and deltas that it has come through, and the last delta's digest.
        self._passed: dict[Key, str] = {}
        self._root, self._digest = "", ""

    def begin(self, weights: Weights) -> None:
        """These weights, of a version as it was loaded, are followed from here on."""
        self._passed, self._digest = {}, ""
        self._root = "" if weights.checksum is None else f"{weights.checksum:016x}"

    def follow(self, weights: Weights, last: Key | None = None) -> None:
        """Applies all deltas that lead on from where the weights are, or those up to `last`."""
        self._now = []
        try:
            while (last is None or (weights.at.epoch, weights.at.number) < last) and (found := self._next(weights.at)):
                if not self._take(*found, weights):
                    break
        except Exception as e:  # whatever it is: what is served stays
            self._problem("unreadable", Key(0, 0), None, f"deltas of {self._folder.path} cannot be followed: {e!r}")
        self.why = "; ".join(self._now)

    def adopts(self, manifest: Mapping[str, Any], served: Mapping[str, Any], weights: Weights) -> bool:
        """Takes a newer version for what is served, where deltas have led to it, or through it: it need not be loaded.

        Args:
          manifest: of the newer version.
          served: that of the version that is served.
          weights: that are served; they get its number.
        """
        at, checksum = of_manifest(manifest)
        key = Key(at.epoch, at.number)
        if not at.epoch or checksum is None or self._passed.get(key) != f"{checksum:016x}":
            return False
        if any(manifest.get(name) != served.get(name) for name in _SAME_GRAPH):
            return False
        self._root = f"{checksum:016x}"
        self._passed = {k: v for k, v in self._passed.items() if k >= key}
        weights.relabel(weights.at._replace(version=at.version))
        return True

    def _next(self, at: At) -> tuple[Key, pathlib.Path] | None:
        """The delta that leads on; None: there is none, or it is not to be had."""
        keys = self._folder.keys
        for epoch in sorted({key.epoch for key in keys if key.epoch >= max(at.epoch, 1)}, reverse=True):
            numbers = {key.number for key in keys if key.epoch == epoch}
            if epoch == at.epoch:
                wanted = Key(epoch, at.number + 1)
            elif self._is_of(epoch, at):
                wanted = Key(epoch, 1)
            else:
                continue
            if wanted.number in numbers:
                return wanted, self._folder.file(wanted)
            if max(numbers) > wanted.number:
                self._problem("missing", wanted, None, f"delta {wanted.number} of epoch {epoch} is missing")
            return None
        return None

    def _is_of(self, epoch: int, at: At) -> bool:
        """Whether a later epoch leads on from the version that is served: deltas of the one before it are void then."""
        key = min(key for key in self._folder.keys if key.epoch == epoch)
        header = self._header(self._folder.file(key))
        if header is None:  # nobody knows: rather none than void ones
            return True
        if header.root_version == at.version and self._root and header.root_checksum != self._root:
            self._problem("foreign", key, self._folder.file(key), f"{self._folder.file(key).name} is of another model")
            return False
        return header.root_version == at.version

    def _take(self, key: Key, file: pathlib.Path, weights: Weights) -> bool:
        """Applies a delta; says whether it could."""
        delta = self._read(key, file, weights.at)
        return delta is not None and self._apply(key, file, delta, weights)

    def _header(self, file: pathlib.Path) -> Header | None:
        try:
            return read_header(file)[0]
        except (Unreadable, OSError):
            return None

    def _read(self, key: Key, file: pathlib.Path, at: At) -> Delta | None:
        try:
            delta = read(file)
        except FileNotFoundError:  # removed just now: the version that holds it is there
            return None
        except (Unreadable, OSError) as e:
            self._problem("unreadable", key, file, f"{file.name} cannot be read: {e}")
            return None
        header = delta.header
        if (header.epoch, header.number) != key:
            what = f"{file.name} holds delta {header.number} of epoch {header.epoch}: doubled or swapped"
            self._problem("misnamed", key, file, what)
            return None
        follows = not self._digest or key.epoch != at.epoch or header.previous == self._digest
        if not follows:
            self._problem("foreign", key, file, f"{file.name} was not made after the delta before it")
            return None
        return delta

    def _apply(self, key: Key, file: pathlib.Path, delta: Delta, weights: Weights) -> bool:
        began, at = time.monotonic(), weights.at
        if weights.checksum is None:  # of a version that was published before there were deltas
            weights.checksum = weights.computed()
            self._root = f"{weights.checksum:016x}"
        newest = delta.header.newest_row_time
        try:
            weights.apply(delta, At(at.version, *key, at.newest_row_time if newest is None else newest))
        except DoesNotFit as e:
            self._problem("foreign", key, file, f"{file.name} does not fit: {e}")
            return False
        except Unreadable as e:
            self._problem("unreadable", key, file, f"{file.name} cannot be read: {e}")
            return False
        if at.epoch and key.epoch != at.epoch:
            self._say(f"epoch {key.epoch}: the trainer went on from window {delta.header.to_window}, and so do the scores")
        self._passed[key], self._digest = delta.header.checksum, delta.digest
        self.applied += 1
        self.secs += time.monotonic() - began
        return True

    def _problem(self, kind: str, key: Key, file: pathlib.Path | None, what: str) -> None:
        """Says and counts what is wrong, once a file as it is."""
        self._now.append(what)
        stat = file.stat() if file and file.exists() else None
        seen = (kind, key, stat and (stat.st_mtime_ns, stat.st_size))
        if seen in self._counted:
            return
        self._counted.add(seen)
        self.problems[kind] += 1
        self._say(f"warning: {what}. Scores stay as they are until it is mended, or until the next version")
