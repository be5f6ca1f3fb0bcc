"""The files of a model folder's checkpoints: which are there, which are damaged, and which stay.

Files are found and removed by their exact paths. TensorFlow's own CheckpointManager takes a folder's name for a pattern: in a
folder `lr=[0.1,0.2]` it removes the checkpoints of a neighbour `lr=1`, and none of its own (tensorflow issues 34290, 35489).
"""

import json
import pathlib
import re
import shutil
import time

import tensorflow as tf

from tfonline.lifecycle import flush_to_disk

_NAME = re.compile(r"ckpt-(\d+)\.index")
# TensorFlow's reader of checkpoints in Python gives any error it does not know as a bare OpError: only its text says what it was.
_DAMAGE_TEXTS = ("hecksum", "sstable", "Perhaps the file is corrupt")
# What a model leaves in its folder once it has learned from a window. Without a checkpoint beside them, something was lost.
_TRACES = ("windows.jsonl", "windows-*.jsonl", "ckpt-*.index", "damaged-ckpt-*", "published")
_BESIDE = (
    "ckpt-*",
    "checkpoint",
    "rejected*.jsonl",
    "loss.log",
    "predictions.bin",
    "failed_windows.json",
    "schemas",
    "first_sights",
)


def paths(folder: pathlib.Path) -> list[pathlib.Path]:
    """The checkpoints of a folder, newest first, without a suffix. One is there once its index is: TensorFlow writes that last."""
    found = [file.with_suffix("") for file in folder.glob("ckpt-*.index") if _NAME.fullmatch(file.name)]
    return sorted(found, key=number, reverse=True)


def number(path: pathlib.Path) -> int:
    """The window before which a checkpoint was saved."""
    return int(path.name.rpartition("-")[2])


def files(path: pathlib.Path) -> list[pathlib.Path]:
    """The files of one checkpoint."""
    return sorted(path.parent.glob(f"{path.name}.*"))


def flush(path: pathlib.Path) -> None:
    """Waits until a checkpoint and its name are on disk."""
    for file in [*files(path), path.parent]:
        flush_to_disk(file)


def keep_newest(folder: pathlib.Path, keep: int) -> None:
    """Removes all checkpoints but the newest ones, and says in TensorFlow's file `checkpoint` which is the newest.

    That file is for `tf.train.latest_checkpoint`, with which other programs find it; tfonline does not read it.
    """
    found = paths(folder)
    for path in found[keep:]:
        # The index first: data without an index is no checkpoint.
        for file in [path.with_suffix(".index"), *files(path)]:
            file.unlink(missing_ok=True)
    state = folder / "checkpoint"
    if not found:
        state.unlink(missing_ok=True)
        return
    beside = folder / ".checkpoint.new"
    beside.write_text(f'model_checkpoint_path: "{found[0].name}"\n')
    beside.rename(state)


def remove_leftovers(folder: pathlib.Path) -> None:
    """Removes what a kill in the middle of a save leaves: temporary files and data without an index."""
    for torn in folder.glob("ckpt-*_temp"):
        shutil.rmtree(torn, ignore_errors=True)
    for file in folder.glob("*ckpt-*.tempstate*"):
        file.unlink()
    for data in folder.glob("ckpt-*.data-*"):
        if not data.with_suffix(".index").exists():
            data.unlink()


def mark_damaged(path: pathlib.Path) -> None:
    """Gives the files of a damaged checkpoint names under which it is none."""
    for file in files(path):
        file.rename(file.with_name(f"damaged-{file.name}"))


def is_damage(error: Exception, path: pathlib.Path) -> bool:
    """Whether reading a checkpoint failed because its files are not what was written.

    That is so where a checksum does not match, a file is cut short or gone, or the position is no JSON. Too little memory, missing
    rights, too many open files and weights of another shape are no damage.
    """
    # IndexError is how TensorFlow's reader says "Read less bytes than requested".
    if isinstance(error, tf.errors.DataLossError | tf.errors.OutOfRangeError | IndexError | json.JSONDecodeError):
        return True
    if not isinstance(error, tf.errors.OpError):
        return False
    return any(text in error.message for text in _DAMAGE_TEXTS) or not any(".data-" in file.name for file in files(path))


def traces(folder: pathlib.Path) -> list[str]:
    """What a model left in a folder, by name: a journal with a window, pins, checkpoints whatever their state.

    Checkpoint 0 is on disk before the first window is journalled, so a new folder has none of these until there is a checkpoint.
    """
    found = sorted({path for pattern in _TRACES for path in folder.glob(pattern)})
    return [path.name for path in found if (any(path.iterdir()) if path.is_dir() else path.stat().st_size)]


def put_aside(folder: pathlib.Path) -> pathlib.Path:
    """Moves what another model left in a folder into a folder of its own below it, and returns that."""
    aside = folder / time.strftime("before-%Y%m%dT%H%M%SZ", time.gmtime())
    aside.mkdir()
    for path in sorted({path for pattern in (*_TRACES, *_BESIDE) for path in folder.glob(pattern)}):
        path.rename(aside / path.name)
    flush_to_disk(folder)
    return aside
