"""Chooses pairs of columns whose past says more of the label than that of either column: for --cross_pairs.

python tools/pairs.py --flagfile=configs/criteo.flags --input_files=first_day.tsv >> mine.flags
python tools/pairs.py --flagfile=mine.flags --bootstrap_servers=host:9092 --topic=clicks --num_rows=20000 --num_pairs=40

It takes the trainer's own flags for the stream, the columns and the dictionaries, and reads the stream's oldest rows. Each value
and each pair of values is counted as --history and --cross_buckets count them, and scores the next row before that is counted. A
pair's gain is by how much the log loss of its past alone is below that of the better one of its two columns. Printed is a line
for a flag file. Take rows that the model is not judged by.
"""

import argparse
import dataclasses
import itertools
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from command_line import Parser, at_least, run

from tfonline.lifecycle import Exit, Stop, UserError

if TYPE_CHECKING:
    import numpy as np

    from tfonline.config import Config
    from tfonline.features.schema import Schema
    from tfonline.formats import Format

_BATCH_ROWS = 100
_ROWS_AT_ONCE = 2000
_BUCKETS = 1 << 24
_LEAST_ROWS = 1000


class _Counted(NamedTuple):
    """Good rows, R of them.

    Attributes:
      columns: the names of k columns that may have pairs.
      crosses: int32 [R, k (k + 1) / 2], the bucket of each column's value and of each pair's, in the order of np.triu_indices(k).
      label: float32 [R], 0 or 1.
      num_refused: so many others were refused.
    """

    columns: list[str]
    crosses: "np.ndarray"
    label: "np.ndarray"
    num_refused: int


def main(argv: list[str]) -> int:
    """Prints the flag; returns the exit code."""
    from tfonline.config import parse

    args, flags = _parse(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    config = parse(["", *flags])
    if config is None:  # help was printed
        return Exit.OK
    rows = _read(config, args.num_rows)
    if len(rows.label) < _LEAST_ROWS:
        raise UserError(
            f"the stream has {len(rows.label):,} good rows, and {rows.num_refused:,} that are none. Expected are {_LEAST_ROWS:,} "
            "good ones at least: of fewer, chance chooses.",
            Exit.DATA,
        )
    gains = gains_of(rows.crosses, rows.label, config.features.cross_buckets or _BUCKETS)
    best = sorted(gains, key=gains.__getitem__, reverse=True)[: args.num_pairs]
    first, last = (f"{rows.columns[i]}*{rows.columns[j]} {gains[i, j]:.4f}" for i, j in (best[0], best[-1]))
    refused = f" (besides {rows.num_refused:,} refused)" if rows.num_refused else ""
    seen = f"{len(gains):,} pairs in {len(rows.label):,} rows{refused}"
    print(f"# Of {seen} those that gain most, in log loss: from {first} down to {last}.")
    print("--cross_pairs=" + ",".join(f"{rows.columns[i]}*{rows.columns[j]}" for i, j in sorted(best)))
    return Exit.OK


def gains_of(crosses: "np.ndarray", label: "np.ndarray", buckets: int) -> "dict[tuple[int, int], float]":
    """By how much the log loss a row by a pair's past is below that by the better one of its two columns.

    Args:
      crosses: int32 [R, k (k + 1) / 2], see _Counted.
      label: float32 [R].
      buckets: crosses are 0 to buckets - 1.

    Returns:
      The gain of each pair (i, j), i < j.
    """
    import numpy as np
    import tensorflow as tf

    from tfonline.features.spec import Spec
    from tfonline.model.networks.wide_deep.history import IdHistory

    history = IdHistory(Spec.of(buckets, crosses.shape[1]))
    history.build(None)

    @tf.function(reduce_retracing=True)
    def losses(ids: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        """The sum of the rows' log losses by each bucket's past, which then counts them."""
        share = history.total[1] / history.total[0]
        logits = history.lift(ids)[0] + tf.math.log(share / (1 - share))
        labels = tf.repeat(label[:, None], ids.shape[1], axis=1)
        found = tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels, logits), axis=0)
        with tf.control_dependencies([found]):
            history.count(ids, label, tf.ones_like(label))
        return found

    total = np.zeros(crosses.shape[1])
    for first in range(0, len(label), _BATCH_ROWS):
        some = slice(first, first + _BATCH_ROWS)
        total += losses(tf.constant(crosses[some]), tf.constant(label[some])).numpy()
    num_columns = int((2 * crosses.shape[1]) ** 0.5)
    loss = dict(zip(zip(*(i.tolist() for i in np.triu_indices(num_columns)), strict=True), total / len(label), strict=True))
    return {(i, j): min(loss[i, i], loss[j, j]) - of_pair for (i, j), of_pair in loss.items() if i != j}


def _read(config: "Config", num_rows: int) -> _Counted:
    """The stream's oldest rows, so many at most."""
    import numpy as np
    import tensorflow as tf

    from tfonline.features.hashes import Crosses
    from tfonline.features.make import load_known, make_features
    from tfonline.features.schema import load_schema
    from tfonline.features.spec import Pairs
    from tfonline.formats.make import format_of

    class WithSingles(Pairs):
        """All pairs, and each field with itself."""

        @property
        def fields(self) -> tuple[np.ndarray, np.ndarray]:
            return np.triu_indices(self.num_fields)

    schema = load_schema(config.features.columns)
    buckets = config.features.cross_buckets or _BUCKETS
    settings = dataclasses.replace(config.features, cross_buckets=buckets, cross_partners=0, cross_pairs="")
    known = load_known(schema, settings, config.vocabulary)
    form = format_of(config.stream, schema, config.features.columns)
    features = make_features(schema, known, settings, config.vocabulary, form)
    if features.crosses is None:
        raise UserError("the rows have no two columns of one value each, and so no pairs.", Exit.DATA)
    places = [i for i, name in enumerate(features.crossed_columns) if name]
    features.crosses = Crosses(WithSingles(len(features.crossed_columns)), buckets)
    left, right = features.crosses.pairs.fields
    wanted = np.isin(left, places) & np.isin(right, places)
    make = tf.function(features.__call__, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    num_refused = 0
    messages = _messages(config, schema, form, num_rows)
    for first in range(0, len(messages), _ROWS_AT_ONCE):
        row = make(tf.constant(messages[first : first + _ROWS_AT_ONCE]))
        good = row.reason.numpy() == 0
        num_refused += int((~good).sum())
        found.append((row.features["crosses"].numpy()[good][:, wanted], row.label[schema.labels[0]].numpy()[good]))
    crosses, label = (np.concatenate(parts)[:num_rows] for parts in zip(*found, strict=True)) if found else ([], [])
    return _Counted([features.crossed_columns[i] for i in places], crosses, label, num_refused)


def _messages(config: "Config", schema: "Schema", form: "Format", num_rows: int) -> list[bytes]:
    """The oldest messages of each partition or file, of all as many, in turns."""
    from tfonline.stream.broker import KafkaTopic
    from tfonline.stream.file_source import FileSource
    from tfonline.stream.messages import Wanted
    from tfonline.stream.records import RowsGone

    stream = config.stream
    if stream.input_files:
        source = FileSource(stream.input_files, wanted=Wanted(schema.columns, form.name))
    else:
        given = stream.bootstrap_servers, stream.topic, stream.group, stream.read_properties, stream.broker_timeout_secs
        # Not among what is printed: that becomes a flag file.
        source = KafkaTopic(*given, Stop(), lambda text: print(text, file=sys.stderr))
    starts = source.begins()
    each = -(-num_rows // max(1, len(starts)))
    # Of files only reading tells how many rows they have.
    ends = [start + each for start in starts] if stream.input_files else source.ends()
    ranges = {p: (start, min(end, start + each)) for p, (start, end) in enumerate(zip(starts, ends, strict=True)) if start < end}
    try:
        of_partitions = [[message for _, message in rows] for rows in source.fetch(ranges).values()]
    except RowsGone as e:
        raise UserError(f"the oldest rows were removed while they were read: {e}. Start again.", Exit.TRY_AGAIN) from e
    in_turns = itertools.chain.from_iterable(itertools.zip_longest(*of_partitions))
    return [message for message in in_turns if message is not None]


def _parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = Parser(prog="pairs.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_rows", type=at_least(_LEAST_ROWS), default=20_000, help="to choose by (default 20,000)")
    parser.add_argument("--num_pairs", type=at_least(1), default=80, help="so many are chosen (default 80)")
    return parser.parse_known_args(argv)


if __name__ == "__main__":
    run(main)
