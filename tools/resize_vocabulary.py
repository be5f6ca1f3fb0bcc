"""Moves a model whose vocabulary grows with the stream (--vocabulary_rows) to another number of rows.

python tools/resize_vocabulary.py runs/clicks --rows=131072

All that was learned stays, and so does each score of a row whose values all have rows. With fewer rows, sets may be full: then the
values that were seen least lose their rows, and it is said how many. The checkpoints as they were are kept in a folder beside the
new one. Then run the trainer with --vocabulary_rows of the new number.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib

from command_line import Parser, at_least, run

from tfonline.flags import wrong
from tfonline.lifecycle import Exit, FolderLock, UserError


def main(argv: list[str]) -> int:
    """Resizes; returns the exit code."""
    args = _parse(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    folder = pathlib.Path(args.model_dir)
    if not (folder / "config.json").exists():
        raise UserError(f"{folder} is no model folder of the trainer: it has no config.json.", Exit.NO_INPUT)
    lock = FolderLock(str(folder))
    try:
        _resize(folder, args.rows)
    finally:
        lock.release()
    return Exit.OK


def _resize(folder: pathlib.Path, rows: int) -> None:
    from tfonline.beginning import CheckpointParts
    from tfonline.config import of_flags
    from tfonline.features.make import load_known, make_features
    from tfonline.features.schema import load_schema
    from tfonline.keep import resize
    from tfonline.keep.checkpoints import Checkpoints, saved_contents
    from tfonline.model.learner import Learner, make_learner
    from tfonline.model.tables.replicas import make_strategy
    from tfonline.settings.vocabulary import VocabularySettings

    if aside := resize.put_in_place(folder):
        print(f"an earlier call is finished; the checkpoints before it are in {aside}")
    settings = json.loads((folder / "config.json").read_text())
    config = of_flags(**{name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()})
    held = saved_contents(str(folder))
    if held is None:
        raise UserError(f"{folder} has no checkpoint.", Exit.NO_INPUT)
    before = held.contract.get("vocabulary_rows", 0)
    if not before:
        raise wrong(f"the model in {folder} has no vocabulary that grows (--vocabulary_rows), but dictionaries.")
    was = dataclasses.replace(config.vocabulary, vocabulary_rows=before)
    becomes = dataclasses.replace(config.vocabulary, vocabulary_rows=rows)
    if rows == before:
        print(f"the vocabulary has {rows:,} rows already")
        return
    schema = load_schema(config.features.columns)
    known, strategy = load_known(schema, config.features, was), make_strategy(1, "cpu")

    def make(vocabulary: VocabularySettings) -> Learner:
        features = make_features(schema, known, config.features, vocabulary)
        return make_learner(strategy, features.spec, config.model, config.optimizers, vocabulary=vocabulary)

    old, new = make(was), make(becomes)
    old_parts, new_parts = (CheckpointParts.make(learner, schema, config.reporting, config.drift_rows) for learner in (old, new))
    Checkpoints(str(folder), 2, old_parts, held.contract).restore()
    for part, same in zip(old_parts, new_parts, strict=True):
        same.set_state(part.get_state(), part.version)
    moved = resize.move(old, new, old_parts.learner.variables(), new_parts.learner.variables())
    contract = {**held.contract, "vocabulary_rows": rows, "vocab_size": new.model.spec.num_ids}
    beside = folder / resize.BESIDE
    beside.mkdir(exist_ok=True)
    written = Checkpoints(str(beside), 2, new_parts, contract)
    written.begin(contextlib.nullcontext())
    written.finished(wait=True)
    written.close()
    aside = resize.put_in_place(folder)
    print(
        f"{folder}: {before:,} rows became {rows:,}; {moved.kept:,} values have theirs"
        + (f", {moved.lost:,} that were seen least found their sets full and share buckets now" if moved.lost else "")
        + f". The checkpoints before are in {aside}. Run the trainer with --vocabulary_rows={rows}."
    )


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="resize_vocabulary.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", help="a model folder of the trainer; no trainer may be using it")
    parser.add_argument("--rows", type=at_least(16), required=True, metavar="N", help="the new number of rows, a power of 2")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
