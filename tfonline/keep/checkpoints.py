"""Checkpoints: weights, slots, next offsets, counters and metric state in one tf.train.Checkpoint.

That they stand in one checkpoint is what makes a row count exactly once: there is no moment at which the weights know of a row
that the offsets do not.

A save is on disk (fsync) before it counts. TensorFlow keeps a checksum of each tensor, so a damaged checkpoint is found when it is
read: the one before it is used, and then the damaged one is put aside as `damaged-<name>`. Any other error touches nothing.
"""

import concurrent.futures
import pathlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import tensorflow as tf

from tfonline.keep import checkpoint_contents, checkpoint_files, packed_counts
from tfonline.keep.learner import KeptLearner
from tfonline.keep.packed_counts import PackedCounts
from tfonline.keep.plain_path import plain_path
from tfonline.keep.snapshot import Snapshot
from tfonline.keep.variables import as_objects
from tfonline.lifecycle import Exit, UserError
from tfonline.model.tables.replicas import first_copy
from tfonline.state import Position, Stateful

T = TypeVar("T")


class _Text(tf.train.experimental.PythonState):
    """A string in a checkpoint."""

    value = ""

    def serialize(self) -> str:
        return self.value

    def deserialize(self, string_value: bytes | str) -> None:
        self.value = string_value.decode() if isinstance(string_value, bytes) else string_value


class Checkpoints:
    """The checkpoints of a model folder; `ckpt-<n>` holds the model before window n.

    Args:
      folder: the model folder.
      keep: how many are kept; at least 2, for the newest is only safe once it is on disk.
      parts: what is saved and restored, one of them the position.
      contract: what the model is made for; saved with it.
      background: writes from a copy in memory, by a thread, while the learner goes on; else a save waits for the disk.
    """

    def __init__(self, folder: str, keep: int, parts: Sequence[Stateful], contract: Mapping[str, Any], background: bool = False):
        self._folder, self._keep, self._parts, self._contract = pathlib.Path(folder), keep, parts, contract
        (self._position,) = (part for part in parts if isinstance(part, Position))
        self._background, self._snapshot = background, None
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[str] | None = None
        self._texts = {name: _Text() for name in (checkpoint_contents.STATE, checkpoint_contents.OLDER_LOOK_HERE)}
        self._checkpoint: tf.train.Checkpoint | None = None  # made with the first save, with the copies that it is written from
        checkpoint_files.remove_leftovers(self._folder)
        self._latest = ""

    @property
    def latest(self) -> str:
        """Path of the newest checkpoint that this object has written or taken over; '' before that."""
        return self._latest

    @property
    def oldest_window(self) -> int:
        """The window before which the oldest kept checkpoint was saved."""
        return min(map(checkpoint_files.number, checkpoint_files.paths(self._folder)), default=0)

    def begin(self, undisturbed: AbstractContextManager) -> None:
        """Begins to save the model as it is now, numbered by the next window; `finished` says when it is on disk.

        One at a time: call it when the one before has finished.

        Args:
          undisturbed: entered while files are written: who ends the process enters it first.
        """
        for name, text in checkpoint_contents.write(self._contract, self._parts).items():
            self._texts[name].value = text
        self._take()
        self._writing = self._writer.submit(self._write, self._position.window, undisturbed)
        if not self._background:
            self.wait()

    @property
    def writing(self) -> bool:
        """Whether a save has begun that `finished` has not yet told of."""
        return self._writing is not None

    def finished(self, wait: bool = False) -> str | None:
        """The path of the checkpoint that has come to disk since the last call, or None.

        Args:
          wait: for the one that is being written.

        Raises:
          UserError: it could not be written (exit 73); those before it are whole.
        """
        if self._writing is None or not (wait or self._writing.done()):
            return None
        writing, self._writing = self._writing, None
        return writing.result()

    def wait(self) -> None:
        """Waits for what is being written; `finished` tells of it later."""
        if self._writing is not None:
            concurrent.futures.wait([self._writing])

    def close(self) -> None:
        """Waits for what is being written."""
        self._writer.shutdown()

    def _take(self) -> None:
        """Copies the model in memory, where it is written in the background."""
        if not self._checkpoint:
            variables = {
                name: PackedCounts(v) if name in _counts(self._parts) else v for name, v in _variables(self._parts).items()
            }
            self._snapshot = Snapshot(variables) if self._background else None
            # Of mirrored variables the first copy, which TensorFlow writes as it lies. Mirrored ones it would all copy, at once.
            written = self._snapshot.copies if self._snapshot else {name: first_copy(v) for name, v in variables.items()}
            self._checkpoint = tf.train.Checkpoint(**as_objects(written), **self._texts)
        if self._snapshot:
            self._snapshot.take()

    def _write(self, window: int, undisturbed: AbstractContextManager) -> str:
        path = self._folder / f"ckpt-{window}"
        try:
            with undisturbed, plain_path(path) as plain:
                self._checkpoint.write(plain)
                checkpoint_files.flush(path)
                checkpoint_files.keep_newest(self._folder, self._keep)
        except (tf.errors.OpError, OSError) as e:
            reason = getattr(e, "message", None) or str(e)
            raise UserError(
                f"the checkpoint before window {window} could not be written: {reason}. The newest whole one is "
                f"{self.latest or 'none'}; what came after it will be read again. Make space or mend the disk, then run the same "
                "command again.",
                Exit.CANNOT_WRITE,
            ) from e
        self._latest = str(path)
        return self._latest

    def restore(self) -> list[str]:
        """Takes over everything from the newest whole checkpoint; `saved_contents` has said beforehand that it fits.

        Returns:
          What was found damaged and put aside, a line each.

        Raises:
          UserError: no checkpoint is whole (exit 78), or one cannot be read though it is not damaged (66, 75 or 78). All stay as
            they are.
        """

        path, _, damaged = _newest_whole(self._folder, lambda path: _take_over(path, self._parts))
        if path is None:
            raise _none_whole(self._folder, list(damaged.values()))
        self._latest = str(path)
        for each in damaged:
            checkpoint_files.mark_damaged(each)
        return [f"{each} is damaged and was put aside as damaged-{each.name} ({why})" for each, why in damaged.items()]


def take_over(path: str, parts: Sequence[Stateful]) -> checkpoint_contents.Contents:
    """Takes over everything from a checkpoint that is known to be whole and to fit; returns what it holds beside the variables."""
    return _take_over(pathlib.Path(path), parts)


def saved_contents(folder: str, new_model: bool = False) -> checkpoint_contents.Contents | None:
    """What a model folder's newest readable checkpoint holds beside the variables; None where a new model begins.

    Args:
      folder: the model folder; it need not be there.
      new_model: whether a new model may begin beside what another has left (--new_model).

    Raises:
      UserError: none of the checkpoints can be read, or there is none, and a model has left something else (exit 78).
    """
    found = pathlib.Path(folder)
    path, held, damaged = _newest_whole(found, read_contents)
    if path is not None or new_model:
        return held
    if damaged:
        raise _none_whole(found, [f"{each}: {why}" for each, why in damaged.items()])
    if left := checkpoint_files.traces(found):
        raise UserError(
            f"{folder} has no checkpoint, but {', '.join(left[:5])}{' ...' if left[5:] else ''}: another model has learned there, "
            f"and its checkpoints are gone. {_HOW_TO_GO_ON}",
            Exit.CONFIG,
        )
    return None


_HOW_TO_GO_ON = (
    "Bring its checkpoints back from a copy, or use another --model_dir; its journal (windows.jsonl) can be replayed there with "
    "--replay_journal. --new_model begins a new model here: what the other left is moved into a folder before-<time>."
)


def _none_whole(folder: pathlib.Path, problems: list[str]) -> UserError:
    return UserError(
        f"no checkpoint in {folder} is whole:\n  " + "\n  ".join(problems) + f"\nNothing was changed. {_HOW_TO_GO_ON}", Exit.CONFIG
    )


def read_contents(path: pathlib.Path) -> checkpoint_contents.Contents:
    """What a checkpoint holds beside the variables, of any format, read without a model.

    Raises:
      UserError: a newer version of tfonline has written it (exit 78).
      tf.errors.OpError, IndexError, ValueError: it is damaged, or no checkpoint of tfonline's.
    """
    with plain_path(path) as plain:
        reader = tf.train.load_checkpoint(plain)
        there = reader.get_variable_to_shape_map()

        def text(name: str) -> bytes | None:
            key = f"{name}/.ATTRIBUTES/py_state"
            return reader.get_tensor(key) if key in there else None

        return checkpoint_contents.read(text, path)


def _variables(parts: Sequence[Stateful]) -> dict[str, Any]:
    return {f"{part.name}/{name}": variable for part in parts for name, variable in part.variables().items()}


def _counts(parts: Sequence[Stateful]) -> set[str]:
    """The names of those variables that are written packed."""
    return {f"{part.name}/{name}" for part in parts if isinstance(part, KeptLearner) for name in part.counts}


def _take_over(path: pathlib.Path, parts: Sequence[Stateful]) -> checkpoint_contents.Contents:
    held = read_contents(path)
    with plain_path(path) as plain:
        packed_counts.read(plain, _variables(parts))
    for part in parts:
        held.give(part)
    return held


def _newest_whole(
    folder: pathlib.Path, read: Callable[[pathlib.Path], T]
) -> tuple[pathlib.Path | None, T | None, dict[pathlib.Path, str]]:
    """Reads the newest checkpoint that is not damaged.

    Returns:
      its path and what `read` gave, None where there is none; and the damaged ones that are newer, with what is wrong.

    Raises:
      UserError: one cannot be read, and not because it is damaged.
    """
    damaged = {}
    for path in checkpoint_files.paths(folder):
        try:
            return path, read(path), damaged
        except (tf.errors.OpError, OSError, IndexError, ValueError, TypeError, KeyError, AssertionError, zlib.error) as e:
            if not checkpoint_files.is_damage(e, path):
                raise _unreadable(path, e) from e
            damaged[path] = _first_line(e)
    return None, None, damaged


def _unreadable(path: pathlib.Path, error: Exception) -> UserError:
    """The error for a checkpoint that is whole, as far as is known, and cannot be read all the same. It stays as it is."""
    text = _first_line(error)
    if isinstance(error, tf.errors.ResourceExhaustedError) or "Too many open files" in text:
        return UserError(
            f"{path} could not be read: {text}. Memory or open files ran out; nothing was changed. Free some, or raise the limit "
            "(ulimit -n), and run the same command again.",
            Exit.TRY_AGAIN,
        )
    if isinstance(error, tf.errors.OpError | OSError) and not isinstance(error, tf.errors.NotFoundError):
        return UserError(
            f"{path} could not be read: {text}. Nothing was changed. Mend what hinders it (rights, the disk), and run the same "
            "command again.",
            Exit.NO_INPUT,
        )
    return UserError(
        f"{path} is whole, but it does not hold what this version of tfonline expects: {type(error).__name__}: {text}. Nothing was "
        "changed. Was it written by another program, or by another version?",
        Exit.CONFIG,
    )


def _first_line(error: Exception) -> str:
    return ((getattr(error, "message", None) or str(error)).splitlines() or [repr(error)])[0]
