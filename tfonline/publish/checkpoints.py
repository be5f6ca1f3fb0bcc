"""Checkpoints: weights, slots, next offsets, counters and metric state in one tf.train.Checkpoint.

That they stand in one checkpoint is what makes a row count exactly once: there is no moment at which the weights know of a row
that the offsets do not.

A save is on disk (fsync) before it counts. TensorFlow keeps a checksum of each tensor, so a damaged checkpoint is found when it is
read: it is put aside as `damaged-<name>`, and the one before it is used.
"""

import base64
import concurrent.futures
import dataclasses
import json
import pathlib
import re
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, Protocol

import tensorflow as tf

from tfonline.lifecycle import Exit, UserError, flush_to_disk
from tfonline.publish.snapshot import Snapshot

# What reading a damaged checkpoint raises: checksums (OpError), cut files (IndexError), and a position that is none.
DAMAGE = (tf.errors.OpError, IndexError, ValueError, TypeError)


@dataclasses.dataclass
class Position:
    """Where in the stream the model is, and what it has learned from. Plain data; changed only by the training loop.

    Attributes:
      next: the next offset of each partition.
      start: the offsets at which the model's first window began.
      stop: the offsets at which the run ends, or None.
      stop_at: the flag that `stop` was resolved from.
      window: the next window's number.
      step: train steps done.
      rows: rows trained.
      rejected: rows refused, by reason.
      skipped: offsets passed over unread, by trigger of the window (skip, lost, passed).
      fingerprint: sum of the fingerprints of the trained rows, mod 2^64.
      contract: what the weights were made for: schema, dictionaries, sizes, topic.
      files: length in bytes of the files beside the checkpoint, to cut them back to.
      files_read: with --input_files, the file of each partition, as `stream.file_source.InputFile` has it; else empty.
    """

    next: list[int]
    start: list[int]
    stop: list[int] | None = None
    stop_at: str = ""
    window: int = 0
    step: int = 0
    rows: int = 0
    rejected: dict[str, int] = dataclasses.field(default_factory=dict)
    skipped: dict[str, int] = dataclasses.field(default_factory=dict)
    fingerprint: int = 0
    contract: dict[str, Any] = dataclasses.field(default_factory=dict)
    files: dict[str, int] = dataclasses.field(default_factory=dict)
    files_read: list[dict[str, Any]] = dataclasses.field(default_factory=list)


class Metrics(Protocol):
    """What goes on counting after a restart."""

    def state(self) -> bytes:
        """Its state."""

    def restore(self, state: bytes) -> None:
        """Takes over a state."""


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
      learner: weights and slots.
      position: saved as it is at the save.
      metrics: likewise.
      background: writes from a copy in memory, by a thread, while the learner goes on; else a save waits for the disk.
    """

    def __init__(self, folder: str, keep: int, learner: tf.Module, position: Position, metrics: Metrics, background: bool = False):
        self._folder, self._keep, self._metrics, self._position = pathlib.Path(folder), keep, metrics, position
        self._snapshot = Snapshot(learner) if background else None
        self._learner = self._snapshot.copy if self._snapshot else learner
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[str] | None = None
        self._text, self._metric_text = _Text(), _Text()
        self._checkpoint = self._make_checkpoint()
        _remove_leftovers(self._folder)
        self._manager = self._manage()

    @property
    def latest(self) -> str:
        """Path of the newest checkpoint."""
        return self._manager.latest_checkpoint or ""

    @property
    def oldest_window(self) -> int:
        """The window before which the oldest kept checkpoint was saved."""
        return min(map(_number, self._manager.checkpoints), default=0)

    def begin(self, undisturbed: AbstractContextManager) -> None:
        """Begins to save the model as it is now, numbered by the next window; `finished` says when it is on disk.

        One at a time: call it when the one before has finished.

        Args:
          undisturbed: entered while files are written: who ends the process enters it first.
        """
        self._text.value = json.dumps(dataclasses.asdict(self._position))
        self._metric_text.value = base64.b64encode(self._metrics.state()).decode()
        if self._snapshot:
            self._snapshot.take()
        self._writing = self._writer.submit(self._write, self._position.window, undisturbed)
        if not self._snapshot:
            concurrent.futures.wait([self._writing])

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

    def close(self) -> None:
        """Waits for what is being written."""
        self._writer.shutdown()

    def _write(self, window: int, undisturbed: AbstractContextManager) -> str:
        try:
            with undisturbed:
                path = self._manager.save(checkpoint_number=window)
                for file in [*self._folder.glob(f"{pathlib.Path(path).name}.*"), self._folder / "checkpoint", self._folder]:
                    flush_to_disk(file)
        except (tf.errors.OpError, OSError) as e:
            reason = getattr(e, "message", None) or str(e)
            raise UserError(
                f"the checkpoint before window {window} could not be written: {reason}. The newest whole one is "
                f"{self.latest or 'none'}; what came after it will be read again. Make space or mend the disk, then run the same "
                "command again.",
                Exit.CANNOT_WRITE,
            ) from e
        return path

    def restore(self) -> list[str]:
        """Takes over everything from the newest whole checkpoint; `saved_position` has said beforehand that it fits.

        Returns:
          What was found damaged and put aside, a line each.

        Raises:
          UserError: no checkpoint is whole (exit 78).
        """
        damaged = []
        for path in _paths(self._folder):
            self._checkpoint = self._make_checkpoint()  # one that failed to restore does not restore another
            try:
                self._checkpoint.restore(path).assert_existing_objects_matched()
                position, metrics = json.loads(self._text.value), base64.b64decode(self._metric_text.value)
            except DAMAGE as e:
                damaged.append(f"{path} is damaged and was put aside as damaged-{pathlib.Path(path).name} ({_first_line(e)})")
                for file in self._folder.glob(f"{pathlib.Path(path).name}.*"):
                    file.rename(file.with_name(f"damaged-{file.name}"))
                continue
            for field, value in position.items():
                setattr(self._position, field, value)
            self._metrics.restore(metrics)
            if self._snapshot:
                self._snapshot.give_back()
            self._manager = self._manage()
            return damaged
        raise _none_whole(self._folder, damaged)

    def _make_checkpoint(self) -> tf.train.Checkpoint:
        return tf.train.Checkpoint(learner=self._learner, position=self._text, metrics=self._metric_text)

    def _manage(self) -> tf.train.CheckpointManager:
        """A manager of what is in the folder, whatever TensorFlow's own list of it says: a kill can come between the two."""
        paths = _paths(self._folder)[::-1]
        if paths:
            tf.compat.v1.train.update_checkpoint_state(self._folder, paths[-1], paths)
        else:
            (self._folder / "checkpoint").unlink(missing_ok=True)
        return tf.train.CheckpointManager(self._checkpoint, str(self._folder), max_to_keep=self._keep, checkpoint_name="ckpt")


def take_over(path: str, learner: tf.Module, position: Position, metrics: Metrics) -> None:
    """Takes over everything from a checkpoint that is known to be whole and to fit."""
    text, metric_text = _Text(), _Text()
    checkpoint = tf.train.Checkpoint(learner=learner, position=text, metrics=metric_text)
    checkpoint.restore(path).assert_existing_objects_matched()
    for field, value in json.loads(text.value).items():
        setattr(position, field, value)
    metrics.restore(base64.b64decode(metric_text.value))


def saved_position(folder: str) -> Position | None:
    """The position in a model folder's newest readable checkpoint, read without a model; None where there is no checkpoint.

    Raises:
      UserError: none of the checkpoints can be read, or they are not tfonline's (exit 78).
    """
    problems = []
    for path in _paths(pathlib.Path(folder)):
        try:
            return Position(**json.loads(tf.train.load_checkpoint(path).get_tensor("position/.ATTRIBUTES/py_state")))
        except DAMAGE as e:
            problems.append(f"{path}: {_first_line(e)}")
    if problems:
        raise _none_whole(folder, problems)
    return None


def _none_whole(folder: str | pathlib.Path, problems: list[str]) -> UserError:
    return UserError(
        f"no checkpoint in {folder} can be read as one of tfonline:\n  " + "\n  ".join(problems) + "\nRestore the folder from a "
        "copy, or start a new --model_dir; its journal (windows.jsonl) can be replayed there with --replay_journal.",
        Exit.CONFIG,
    )


def _paths(folder: pathlib.Path) -> list[str]:
    """The checkpoints of a folder, newest first. A checkpoint is there once its index is: TensorFlow writes that last."""
    found = [str(file.with_suffix("")) for file in folder.glob("ckpt-*.index") if re.fullmatch(r"ckpt-\d+\.index", file.name)]
    return sorted(found, key=_number, reverse=True)


def _number(path: str) -> int:
    return int(path.rpartition("-")[2])


def _remove_leftovers(folder: pathlib.Path) -> None:
    """Removes what a kill in the middle of a save leaves: temporary files and data without an index."""
    for torn in folder.glob("ckpt-*_temp"):
        shutil.rmtree(torn, ignore_errors=True)
    for file in folder.glob("*ckpt-*.tempstate*"):
        file.unlink()
    for data in folder.glob("ckpt-*.data-*"):
        if not data.with_suffix(".index").exists():
            data.unlink()


def _first_line(error: Exception) -> str:
    return (getattr(error, "message", None) or str(error)).splitlines()[0]


def check_contract(folder: str, saved: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Compares what the checkpoint was made for with what the flags say.

    Raises:
      UserError: with each difference (exit 78).
    """
    differences = [
        f"  {name}: the checkpoint has {saved.get(name)!r}, this run {wanted.get(name)!r}"
        for name in sorted({*saved, *wanted})
        if saved.get(name) != wanted.get(name)
    ]
    if differences:
        raise UserError(
            f"the model in {folder} was made for another configuration:\n"
            + "\n".join(differences)
            + "\nUse the same as before, or a new --model_dir.",
            Exit.CONFIG,
        )
