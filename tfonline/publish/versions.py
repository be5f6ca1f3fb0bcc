"""The folder that serving reads: whole models under rising numbers, each with a manifest that says what it is.

    <export_dir>/<number>/     a SavedModel, and manifest.json
    <export_dir>/.state.json   the last number, why publishing is paused, which versions are bad
    <export_dir>/.<random>.tmp a model that is being written; serving sees no folder that is not named by a number

A version is written beside and renamed when it is whole and on disk. Its number is never given twice, and rises also where an old
model is published again. What changes the set of versions holds the folder's lock, so a trainer and a tool can work on it at the
same time. It is held for short: what takes long (writing, digests, removing) is done without it, so that the way back never waits.
Imports no TensorFlow.
"""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from tfonline.lifecycle import Exit, UserError, flush_to_disk, try_lock
from tfonline.publish import staging
from tfonline.publish.links import link_tree
from tfonline.publish.staging import Staging

MANIFEST = "manifest.json"
_STATE, _LOCK = ".state.json", ".lock"
_POLL_SECS = 0.05


@dataclasses.dataclass
class _State:
    last: int = 0
    paused: str = ""
    bad: dict[str, str] = dataclasses.field(default_factory=dict)  # number to reason


class Paused(Exception):
    """What was written is not published: publishing is paused, for the reason in the text."""


class Versions:
    """The published versions of a folder.

    Args:
      folder: made at the first publication; who only reads needs no right to write.
      keep: how many versions stay when a new one is published; at least 2, so that there is one to go back to.
      lock_secs: how long to wait for another that changes the folder.
    """

    def __init__(self, folder: str | pathlib.Path, keep: int = 5, lock_secs: float = 60.0):
        self.folder, self._keep, self._lock_secs = pathlib.Path(folder), keep, lock_secs

    def make(self) -> None:
        """Makes the folder where it is not there.

        Raises:
          UserError: it cannot be made, written or locked (exit 73).
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / _LOCK).open("w") as file:
                try_lock(file, f"--export_dir={self.folder}")
        except OSError as e:
            raise UserError(
                f"--export_dir={self.folder} cannot be written ({e.strerror}). Give a folder that can be.", Exit.CANNOT_WRITE
            ) from e

    @property
    def numbers(self) -> list[int]:
        """The published versions, oldest first."""
        paths = self.folder.iterdir() if self.folder.is_dir() else ()
        return sorted(int(path.name) for path in paths if path.name.isdecimal() and path.is_dir())

    @property
    def paused(self) -> str:
        """Why nothing is published; empty: it is."""
        return self._state().paused

    @property
    def bad(self) -> dict[int, str]:
        """Versions that were rolled back, and why; also those that are not there any more."""
        return {int(number): why for number, why in self._state().bad.items()}

    def path(self, number: int) -> pathlib.Path:
        """The folder of a version."""
        return self.folder / str(number)

    def manifest(self, number: int) -> dict[str, Any]:
        """What a version is.

        Raises:
          UserError: there is no such version (exit 66), or its manifest cannot be read (65).
        """
        if not self.path(number).is_dir():
            raise UserError(f"{self.folder} has no version {number}. There are {self.numbers or 'none'}.", Exit.NO_INPUT)
        try:
            manifest = json.loads((self.path(number) / MANIFEST).read_bytes())
            if not isinstance(manifest, dict):
                raise ValueError(f"it holds {manifest!r:.50}")
            return manifest
        except (OSError, ValueError) as e:
            raise UserError(f"version {number} has no readable {MANIFEST}: {e}. Roll back to another one.", Exit.DATA) from e

    def publish(
        self,
        write: Callable[[pathlib.Path], object],
        manifest: dict[str, Any],
        judge: Callable[[int], dict[str, Any]] | None = None,
    ) -> int:
        """Publishes what `write` puts into a folder that is not there yet; returns its number.

        What `write` or `judge` raises leaves the folder as it was. So does a kill, but for a `.tmp` that the next call removes.

        Args:
          write: gets the path beside, and makes it.
          manifest: what the version is; `version`, `published` (seconds since 1970) and `files` (SHA-256 by name) are added.
          judge: gets the number of the newest version, 0 for none, and gives what the manifest says besides, or raises. It is asked
            once all is written, and again where another version has come while it judged: nothing is published over a version that
            it has not seen. None: over any.

        Raises:
          Paused: publishing was paused, at the latest while this was written.
          OSError: it could not be written.
          UserError: another holds the folder for too long (exit 75).
        """
        with self._staging() as beside:
            write(beside.version)
            files = digests(beside.version)
            _flush(beside.version)
            judged = None
            while True:
                with self._locked():
                    state, newest = self._state(), max(self.numbers, default=0)
                    if state.paused:
                        raise Paused(f"publishing is paused: {state.paused}")
                    if judge is None or newest == judged:
                        number = self._add(beside, manifest, files, state)
                        for old in self.numbers[: -self._keep]:
                            # Serving sees it whole or not at all.
                            self.path(old).rename(beside.path / str(old))
                        return number
                # Without the lock: it may take long.
                judged, manifest = newest, manifest | judge(newest)

    def problems(self, number: int) -> list[str]:
        """What of a version is not as its manifest says: files that differ, are missing or were added."""
        expected, found = self.manifest(number).get("files", {}), digests(self.path(number))
        differ = [f"{name} has changed" for name in sorted(expected.keys() & found.keys()) if expected[name] != found[name]]
        missing = [f"{name} is missing" for name in sorted(expected.keys() - found.keys())]
        return differ + missing + [f"{name} was added" for name in sorted(found.keys() - expected.keys())]

    def roll_back(self, to: int | None = None, why: str = "rolled back") -> int:
        """Publishes an older version again, marks all since it as bad, and pauses publishing; returns the new number.

        Args:
          to: the version; None: the newest that is not bad and not the model that is served now.
          why: kept beside the bad versions and as the reason of the pause.

        Raises:
          UserError: there is nothing to go back to (exit 66), or that version is damaged (65).
        """
        with self._staging() as beside:
            whole = None
            while True:
                with self._locked():
                    source = self._source(to)
                    if source == whole:
                        return self._go_back(source, why, beside)
                # Without the lock: it reads all of the version. Somebody may change the set meanwhile, so that it is asked again.
                problems = self._problems_unless_removed(source)
                if problems:
                    raise UserError(f"version {source} is damaged: {'; '.join(problems)}. Roll back to another one.", Exit.DATA)
                whole = source if problems is not None else None

    def way_back(self) -> int | None:
        """The version that `roll_back` goes back to where none is named; None: there is none."""
        bad, numbers = self._state().bad, self.numbers
        good = [n for n in numbers[:-1] if str(n) not in bad and self._origin(n) != self._origin(numbers[-1])]
        return good[-1] if good else None

    def pause(self, why: str) -> None:
        """Lets nothing be published, nor what is being written now, until `resume`."""
        with self._locked():
            self._write_state(dataclasses.replace(self._state(), paused=why))

    def resume(self) -> None:
        """Lets models be published again."""
        with self._locked():
            self._write_state(dataclasses.replace(self._state(), paused=""))

    def _origin(self, number: int) -> int:
        """The version that one is a copy of: itself, if none, or if its manifest cannot be read (the way back leads past it)."""
        try:
            return self.manifest(number).get("rolled_back_to", number)
        except UserError:
            return number

    def _source(self, to: int | None) -> int:
        """The version to go back to."""
        if to is not None:
            self.manifest(to)
            return to
        source = self.way_back()
        if source is None:
            raise UserError(f"{self.folder} has no good version to go back to. There are {self.numbers or 'none'}.", Exit.NO_INPUT)
        return source

    def _go_back(self, source: int, why: str, beside: Staging) -> int:
        """Publishes a whole version once more; its files get second names, which is quick. With the lock: nobody removes it."""
        state, manifest = self._state(), self.manifest(source)
        # What was itself a copy of `source` is as good as it.
        since = [n for n in self.numbers if n > source and str(n) not in state.bad and self._origin(n) != self._origin(source)]
        link_tree(self.path(source), beside.version, without=MANIFEST)
        _flush(beside.version)
        state.bad |= {str(n): why for n in since}
        state.paused = f"{why} (version {self._next_number(state)} is {source} again)"
        return self._add(beside, manifest | {"rolled_back_to": self._origin(source)}, manifest["files"], state)

    def _problems_unless_removed(self, number: int) -> list[str] | None:
        """See `problems`; None where the version has been removed while it was read."""
        try:
            problems = self.problems(number)
        except FileNotFoundError:
            problems = ["files are missing"]
        except UserError:
            if self.path(number).is_dir():
                raise
            return None
        return problems if self.path(number).is_dir() else None

    def _next_number(self, state: _State) -> int:
        return max([state.last, *self.numbers]) + 1

    def _add(self, beside: Staging, manifest: dict[str, Any], files: dict[str, str], state: _State) -> int:
        """Makes what was written beside, and is on disk, a version; returns its number. With the lock.

        Args:
          beside: where it was written.
          manifest: see `publish`.
          files: SHA-256 by name.
          state: becomes the folder's, with the number in it.
        """
        number = self._next_number(state)
        manifest = {k: v for k, v in manifest.items() if k not in ("version", "published", "files")}
        manifest = {"version": number, "published": time.time(), **manifest, "files": files}
        (beside.version / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        for path in (beside.version / MANIFEST, beside.version):
            flush_to_disk(path)
        # Before the rename: a number that was seen once is never given again.
        self._write_state(dataclasses.replace(state, last=number))
        beside.version.rename(self.path(number))
        flush_to_disk(self.folder)
        return number

    @contextlib.contextmanager
    def _staging(self) -> Iterator[Staging]:
        """A folder to write a version in; what killed processes have left is removed."""
        with self._locked():
            left, made = staging.abandoned(self.folder), staging.make(self.folder)
        try:
            for each in left:
                each.remove()
            yield made
        finally:
            made.remove()

    def _state(self) -> _State:
        try:
            return _State(**json.loads((self.folder / _STATE).read_bytes()))
        except FileNotFoundError:
            return _State()
        except (ValueError, TypeError) as e:
            raise UserError(
                f"{self.folder / _STATE} cannot be understood ({e}). Remove it: numbers go on above the newest version, and "
                "none is marked as bad.",
                Exit.DATA,
            ) from e

    def _write_state(self, state: _State) -> None:
        beside = self.folder / f"{_STATE}.new"
        beside.write_text(json.dumps(dataclasses.asdict(state)) + "\n")
        flush_to_disk(beside)
        beside.rename(self.folder / _STATE)
        flush_to_disk(self.folder)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.make()
        deadline = time.monotonic() + self._lock_secs
        with (self.folder / _LOCK).open("w") as file:
            while True:
                if try_lock(file, self.folder):
                    break
                if time.monotonic() > deadline:
                    problem = f"another process has been changing {self.folder} for {self._lock_secs:g} s"
                    raise UserError(f"{problem}. Try again when it is done.", Exit.TRY_AGAIN)
                time.sleep(_POLL_SECS)
            yield


def _flush(folder: pathlib.Path) -> None:
    """Waits until all files below a folder, and their names, are on disk."""
    for path in [*folder.rglob("*"), folder]:
        flush_to_disk(path)


def digests(folder: pathlib.Path) -> dict[str, str]:
    """SHA-256 in hex of each file below a folder but its manifest, by name."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and name != MANIFEST:
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
