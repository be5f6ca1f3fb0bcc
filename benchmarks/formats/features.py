"""Messages of a format to ids, alone on one core: python -m benchmarks.formats.features FORMAT ROWS COLUMNS

A process of its own, for TensorFlow's threads are counted once. Prints rows/s.
"""

import os
import pathlib
import sys
import time

from benchmarks.speed.features import take_one_core
from tfonline.features.dictionaries import Dictionaries
from tfonline.features.schema import load_schema
from tfonline.formats.make import format_of
from tfonline.settings.stream import StreamSettings

_ROWS, _BATCH_ROWS, _MESSAGE_ROWS, _SECS = 20_000, 1000, 1000, 4.0


def main(name: str, rows: str, columns: str) -> None:
    """Prints rows/s."""
    take_one_core()
    import tensorflow as tf

    from tfonline.features.many_rows import MESSAGES_AT_ONCE
    from tfonline.features.pipeline import Features

    schema = load_schema(columns)
    form = format_of(StreamSettings(message_format=name), schema, columns)
    lines = pathlib.Path(rows).read_text().splitlines()[:_ROWS]
    rows = [line.split("\t") for line in lines]
    if form.many:
        messages = [form.encode_rows(rows[i : i + _MESSAGE_ROWS], schema.columns) for i in range(0, len(rows), _MESSAGE_ROWS)]
        at_once, rows_at_once = MESSAGES_AT_ONCE, MESSAGES_AT_ONCE * _MESSAGE_ROWS
    else:
        messages, at_once, rows_at_once = [form.encode(row, schema.columns) for row in rows], _BATCH_ROWS, _BATCH_ROWS
    batches = [tf.constant(messages[i : i + at_once]) for i in range(0, len(messages) - at_once + 1, at_once)]
    features = Features(schema, Dictionaries.without_values(schema), "bucket", form, 200_000, vocabulary_rows=65_536)
    make = tf.function(features.__call__, autograph=False, input_signature=[tf.TensorSpec([None], tf.string)])
    for batch in batches[:5]:
        assert not make(batch).reason.numpy().any()
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < _SECS:
        make(batches[count % len(batches)]).features["ids"].numpy()
        count += 1
    print(count * rows_at_once / (time.perf_counter() - began))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main(*sys.argv[1:])
