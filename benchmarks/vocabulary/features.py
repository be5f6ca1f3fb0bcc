"""The features that a flag file asks for, alone on one core:

    python -m benchmarks.vocabulary.features FLAGFILE DICTIONARIES ROWS [FLAG ...]

A process of its own, for TensorFlow's threads are counted once. Prints rows/s.
"""

import os
import pathlib
import sys

from benchmarks.speed.features import rows_per_sec, take_one_core
from tfonline import config as flags
from tfonline.features.make import load_known, make_features
from tfonline.features.schema import load_schema


def main(flagfile: str, dictionaries: str, rows: str, *more: str) -> None:
    """Prints rows/s."""
    take_one_core()
    c = flags.parse(["", f"--flagfile={flagfile}", f"--dictionary_dir={dictionaries}", *more])
    schema = load_schema(c.features.columns)
    known = load_known(schema, c.features, c.vocabulary)
    features = make_features(schema, known, c.features, c.vocabulary, vocab_size=c.model.vocab_size)
    print(rows_per_sec(features, pathlib.Path(rows)))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main(*sys.argv[1:])
