"""The commands of `tools/models.py deltas`."""

import argparse
import json
import pathlib
import sys
import time
from typing import TYPE_CHECKING

from tfonline.deltas.file import Unreadable, read
from tfonline.deltas.folder import DeltaFolder, Key
from tfonline.lifecycle import Exit, UserError
from tfonline.publish.versions import Versions, digests
from tfonline.settings.keeping import delta_dir_of

if TYPE_CHECKING:
    from tfonline.deltas.weights import Weights


def list_deltas(versions: Versions, folder: DeltaFolder) -> int:
    """Prints what each delta is; returns 65 where one cannot be read."""
    keys, unreadable, size = folder.keys, 0, 0
    newest, last = max(versions.numbers, default=0), max((key.epoch for key in keys), default=0)
    print(f"{'delta':>10}{'age':>9}{'windows':>18}{'rows':>14}{'bytes':>12}{'on version':>12}  state")
    for key in keys:
        try:
            delta, length = read(folder.file(key)), folder.file(key).stat().st_size
        except (Unreadable, OSError) as e:
            unreadable += 1
            print(f"{_name(key):>10}  {e}")
            continue
        h, size = delta.header, size + length
        windows = f"{h.from_window}-{h.to_window}"
        state = "" if key.epoch == last else f"void since epoch {last}, but for what a version holds"
        if (h.epoch, h.number) != key:
            state = f"holds {h.epoch}.{h.number}"
        age = f"{max(0, time.time() - h.made):.0f} s"
        print(f"{_name(key):>10}{age:>9}{windows:>18}{h.rows:>14,}{length:>12,}{h.root_version:>12}  {state}".rstrip())
    print(f"deltas: count={len(keys)} unreadable={unreadable} bytes={size} version={newest or 'none'}")
    return Exit.DATA if unreadable else Exit.OK


def verify(versions: Versions, folder: DeltaFolder, number: int) -> int:
    """Has a version led on by its deltas, as a server does, and adds up all weights anew; returns 65 where something is wrong."""
    weights, problems = _led_on(versions, folder, number, None)
    if weights.computed() != weights.checksum:
        problems.append("the weights do not have the checksum that they should")
    for problem in problems:
        print(f"  {problem}")
    print(f"deltas: version={number} at={weights.at.delta} whole={'no' if problems else 'yes'} problems={len(problems)}")
    return Exit.DATA if problems else Exit.OK


def apply(versions: Versions, folder: DeltaFolder, number: int, output: str, last: str | None) -> int:
    """Writes the version that deltas lead to into a folder.

    Raises:
      UserError: the folder is there (exit 73), or a delta is damaged or is not there (65).
    """
    from tfonline.deltas import saved_model

    target, wanted = pathlib.Path(output), None if last is None else _key(last)
    if target.exists():
        raise UserError(f"{target} is there already. Give a folder that is not.", Exit.CANNOT_WRITE)
    weights, problems = _led_on(versions, folder, number, wanted)
    if problems or (wanted and weights.at.delta != last):
        why = "; ".join(problems) or "there is no such delta after it"
        raise UserError(f"version {number} leads to delta {weights.at.delta}, not to {last or 'the last one'}: {why}", Exit.DATA)
    saved_model.write(versions.path(number), target, weights.values())
    manifest = versions.manifest(number)
    if weights.at.epoch:
        h = read(folder.file(Key(weights.at.epoch, weights.at.number))).header
        state = {"checksum": h.checksum, "epoch": h.epoch, "number": h.number}
        manifest |= {"window": h.to_window, "step": h.step, "rows": h.rows, "next": list(h.next), "state": state}
        manifest["newest_row_time"] = weights.at.newest_row_time
    (target / "manifest.json").write_text(json.dumps(manifest | {"files": digests(target)}, indent=2) + "\n")
    print(f"deltas: version={number} at={weights.at.delta} written={target}")
    return Exit.OK


def folder_of(args: argparse.Namespace) -> DeltaFolder:
    """The deltas that a command is about."""
    return DeltaFolder(args.delta_dir or delta_dir_of(args.folder))


def _led_on(versions: Versions, folder: DeltaFolder, number: int, last: Key | None) -> "tuple[Weights, list[str]]":
    """A version's weights, led on by deltas, and what is wrong with these."""
    import tensorflow as tf

    from tfonline.deltas.weights import Weights, of_manifest
    from tfonline.keep.plain_path import plain_path
    from tfonline.serving.deltas import Deltas

    with plain_path(versions.path(number)) as plain:
        loaded = tf.saved_model.load(plain)
    weights = Weights(loaded, *of_manifest(versions.manifest(number)))
    if weights.checksum is None:
        weights.checksum = weights.computed()
    deltas = Deltas(folder, lambda line: print(line, file=sys.stderr))
    deltas.begin(weights)
    deltas.follow(weights, last)
    return weights, [deltas.why] if deltas.why else []


def _key(text: str) -> Key:
    epoch, _, number = text.partition(".")
    if not (epoch.isdecimal() and number.isdecimal()):
        raise UserError(f"--to={text} is no delta. Give its epoch and its number, such as 1.42.", Exit.FLAGS)
    return Key(int(epoch), int(number))


def _name(key: Key) -> str:
    return f"{key.epoch}.{key.number}"
