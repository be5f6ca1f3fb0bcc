"""From raw batches to what the model learns from: parse, look up, scale, pad. The same Features object serves and trains."""

import itertools
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfonline.features.batch import Batch, Element, Rejected, Row
from tfonline.features.dictionaries import Dictionaries
from tfonline.features.fewer_negatives import make_kept
from tfonline.features.hashes import Crosses, row_fingerprints
from tfonline.features.kinds import Op, Options, feature_kinds
from tfonline.features.kinds.categories import Categories
from tfonline.features.kinds.category import Category
from tfonline.features.many_rows import Piece, make_pieces
from tfonline.features.negatives import Negatives
from tfonline.features.parse import Fields, Parse, Place
from tfonline.features.schema import Schema
from tfonline.features.spec import Attended, Input, Spec, VocabularySpec
from tfonline.flags import wrong
from tfonline.formats import Format
from tfonline.formats.reasons import REASONS
from tfonline.formats.tsv import Tsv
from tfonline.stream.raw import Outcome, RawBatch

_NONE = np.int64(0)
_CORES = len(os.sched_getaffinity(0))
# More than the cores: most of them wait, for the planner's clock or for the broker.
_THREADS = 14 + 2 * _CORES


class Features(tf.Module):
    """Messages to features. For b rows of fields, one a column, kind by kind as in kinds.KINDS (integers, categories, and so on):

    - `ids`: int32 [b, P] at P places: one a field, and of a list as many as it may have values. The padding is where none is.
    - `values`: float32 [b, P], by which an id's weights are multiplied; 1 for a category.
    - `numeric`: float32 [b, N], logarithms, NaN where missing: with numeric=bucket of integers, and behind them of decimal numbers.
    - `crosses`: int32 [b, W], W pairs of fields that are no lists, of `most_crossed` of them; only with cross_buckets, and where
      there are two such.
    - `keys`: int64 [b, K], of K places for values of categories, 0 where there is none; only with vocabulary_rows. Their `ids` are
      those of values without a row: model.tables.vocabulary knows which values have one.

    Args:
      schema: the columns.
      dictionaries: ids and ranges.
      numeric: minmax, log or bucket.
      form: the messages' format; None: TSV.
      oov_buckets: see CategoryLookup.
      cross_buckets: see Crosses; 0: no crosses. A single field has none either.
      most_crossed: so many fields have pairs at most: categories first, then the others in their order.
      vocab_size: so many ids the model has; 0: as many as there are.
      vocabulary_rows: the last ids, so many, belong to categories as the stream brings them; 0: none do, the dictionaries say all.
      labelled: whether the messages that are learned from have the label's field.
      cross_partners: each of these fields has pairs with so many others, see spec.Pairs.
      cross_pairs: the columns of pairs that there are besides.

    Raises:
      UserError: a column of `cross_pairs` is none that has pairs (exit 64).

    Attributes:
      parse: makes typed values of messages.
      ops: by the name of a kind, what makes inputs of its typed values.
      num_ids: ids are 0 to num_ids - 1.
      spec: what a network gets. The model's weights for an id that is padding stay zero.
      crosses: makes the crosses, or None.
      crossed_columns: the columns' names of the fields that have pairs; '' of a field that shares its column with others.
      keyed_columns: the columns' names of `keys`, [K]; that of a list stands once a place.
    """

    def __init__(
        self,
        schema: Schema,
        dictionaries: Dictionaries,
        numeric: str,
        form: Format | None = None,
        oov_buckets: int = 0,
        cross_buckets: int = 0,
        most_crossed: int = 64,
        vocab_size: int = 0,
        vocabulary_rows: int = 0,
        labelled: bool = True,
        cross_partners: int = 0,
        cross_pairs: Sequence[tuple[str, str]] = (),
    ):
        super().__init__(name="features")
        self.parse = Parse(schema, form or Tsv(), labelled)
        ops: dict[str, Op] = {}
        self.num_ids = dictionaries.num_ids
        for kind in feature_kinds():
            columns = [column for column in schema.columns if column.kind == kind.name]
            options = Options(numeric, oov_buckets, growing=bool(vocabulary_rows), made=ops)
            ops[kind.name] = op = kind.make_op(columns, dictionaries, self.num_ids, options)
            self.num_ids += op.num_ids
        self.ops = ops
        self.keyed_columns = [name for op in ops.values() for name in op.keyed]
        vocabulary = _vocabulary(list(ops.values()), vocabulary_rows, self.num_ids)
        single = _single_fields(schema, ops)
        crossed = _crossed(single, most_crossed)
        self.crossed_columns = [single[field].column for field in crossed]
        self.num_ids += vocabulary.rows if vocabulary else 0
        self.spec = Spec.of(
            vocab_size or self.num_ids,
            num_fields=sum(op.num_fields for op in ops.values()),
            own=_side_by_side([op.inputs for op in ops.values()]),
            scaled_fields=_scaled_fields(list(ops.values())),
            cross_buckets=cross_buckets,
            most_crossed=most_crossed,
            cross_partners=cross_partners,
            cross_pairs=_chosen(self.crossed_columns, cross_pairs) if cross_buckets else (),
            heads=schema.labels,
            vocabulary=vocabulary,
            lists=tuple(length for op in ops.values() for length in op.lists),
            attended=_attended(schema, ops),
        )
        self.crosses = Crosses(self.spec.pairs, cross_buckets) if self.spec.pairs else None
        self._crossed = crossed if len(crossed) < len(single) else None

    def __call__(self, message: tf.Tensor) -> Row:
        """Messages, string [b], to rows."""
        return self.of_fields(self.parse(message))

    def of_fields(self, fields: Fields) -> Row:
        """Parsed messages to rows; without a label where the messages have none."""
        values = fields.values
        of_kinds = [op(values[name]) for name, op in self.ops.items() if name in values]
        ids = tf.concat([inputs.ids for inputs in of_kinds], axis=1)
        features = {
            "ids": tf.where(ids < 0, self.spec.num_ids, ids) if self.spec.lists else ids,
            "values": tf.concat([inputs.values for inputs in of_kinds], axis=1),
        }
        for name in {name: None for inputs in of_kinds for name in inputs.own}:
            features[name] = tf.concat([inputs.own[name] for inputs in of_kinds if name in inputs.own], axis=1)
        if self.crosses:
            keys = tf.concat([inputs.keys for inputs in of_kinds], axis=1)
            features["crosses"] = self.crosses(keys if self._crossed is None else tf.gather(keys, self._crossed, axis=1))
        label = dict(zip(self.spec.heads, tf.unstack(values["label"], axis=1), strict=True)) if "label" in values else {}
        weight = values["weight"][:, 0] if "weight" in values else tf.ones_like(features["values"][:, 0])
        return Row(label, weight, features, fields.reason)

    def keep_in(self, folder: str | os.PathLike) -> None:
        """Has what a SavedModel takes along as files read from `folder`. Call it before a graph uses the features.

        Raises:
          OSError: they cannot be written.
        """
        for op in self.ops.values():
            op.keep_in(folder)


def _side_by_side(inputs: Sequence[Mapping[str, Input]]) -> dict[str, Input]:
    """The inputs of several kinds; those of one name are as wide as all of them."""
    found: dict[str, Input] = {}
    for name, entry in ((name, entry) for of_kind in inputs for name, entry in of_kind.items()):
        found[name] = entry._replace(width=entry.width + (found[name].width if name in found else 0))
    return found


def _attended(schema: Schema, ops: Mapping[str, Op]) -> tuple[Attended, ...]:
    """As in Spec."""
    first, past = {}, 0
    for kind, op in ops.items():
        first[kind] = past
        past += op.num_fields - len(op.lists) + sum(op.lists)
    lists = ops[Categories.name]
    ends = itertools.accumulate(lists.lists, initial=first[Categories.name])
    spans = dict(zip(lists.names, itertools.pairwise(ends), strict=True))
    categories = sorted(schema.columns_of(Category.name), key=lambda c: bool(c.hash_buckets))  # as the ops have them
    place = {column.name: first[Category.name] + i for i, column in enumerate(categories)}
    columns = schema.columns_of(Categories.name)
    along = {c.name: tuple(spans[of.name] for of in columns if of.along == c.name) for c in columns}
    return tuple(Attended(spans[c.name], place[c.shares], along[c.name]) for c in columns if c.shares)


def _vocabulary(ops: Sequence[Op], rows: int, first_id: int) -> VocabularySpec | None:
    """As in Spec: of each op that has keys the first places; None where no column has any."""
    spans, first = [], 0
    for op in ops:
        if op.keyed:
            spans.append((first, first + len(op.keyed)))
        first += op.num_fields - len(op.lists) + sum(op.lists)
    return VocabularySpec(rows, first_id, tuple(spans)) if rows and spans else None


class _Field(NamedTuple):
    kind: str
    column: str  # '' where the column has several


def _single_fields(schema: Schema, ops: Mapping[str, Op]) -> list[_Field]:
    """The fields that are no lists, in order."""
    fields = []
    for kind, op in ops.items():
        columns = [column for column in schema.columns_of(kind) if kind != Categories.name]
        columns.sort(key=lambda column: bool(getattr(column, "hash_buckets", 0)))  # as the op has them
        count = op.num_fields - len(op.lists)
        names = [column.name for column in columns] if len(columns) == count else [""] * count
        fields += [_Field(kind, name) for name in names]
    return fields


def _crossed(single: Sequence[_Field], most: int) -> list[int]:
    """Which of the fields that are no lists have pairs, so many at most: categories first, then the others; in order."""
    in_order = sorted(range(len(single)), key=lambda i: single[i].kind != Category.name)
    return sorted(in_order[:most])


def _chosen(columns: Sequence[str], pairs: Sequence[tuple[str, str]]) -> tuple[tuple[int, int], ...]:
    """As of Pairs; `columns` are those of the fields that have pairs."""
    if unknown := sorted({name for pair in pairs for name in pair} - {name for name in columns if name}):
        raise wrong(
            f"--cross_pairs names {', '.join(unknown)}: no column that has pairs. Expected are columns of one value each, and not "
            f"behind the first --cross_fields: {', '.join(filter(None, columns))}."
        )
    return tuple(sorted({tuple(sorted(map(columns.index, pair))) for pair in pairs}))


def _scaled_fields(ops: Sequence[Op]) -> int | None:
    """As in Spec, of the fields of all ops: scaled fields can only be the first ones."""
    first, *others = (op.scaled_fields for op in ops)
    return None if any(n != 0 for n in others) else first


def make_batches(raw: tf.data.Dataset, features: Features, batch_size: int, negatives: Negatives | None = None) -> tf.data.Dataset:
    """Turns `(RawBatch, window, last)` into Elements with static shapes, several at a time, in order.

    Args:
      raw: batches of at most `batch_size` rows; or some messages each, where messages have many rows.
      features: the definition of the features.
      batch_size: B; with --steps_per_call, the rows of a call.
      negatives: which are learned from; None: all.
    """
    parallel = max(2, _CORES)
    negatives = negatives or Negatives()
    head, joined = features.spec.heads[0], raw.element_spec[0].outcome != ()

    @tf.autograph.experimental.do_not_convert  # nothing here needs converting, which takes a second
    def of_messages(raw_batch: RawBatch, window, last, left_out=_NONE) -> Element:
        message, tombstone, origin, outcome = raw_batch
        fields = features.parse(message)
        # To a format it is an empty message, which may even be a row.
        fields = fields._replace(reason=tf.where(tombstone, REASONS.index("tombstone"), fields.reason))
        if joined:
            without_key = (fields.reason == 0) & (outcome == Outcome.NO_KEY)
            fields = fields._replace(reason=tf.where(without_key, REASONS.index("key"), fields.reason))
        row, late = features.of_fields(fields), ()
        refused, fingerprints = Rejected(origin, row.reason, message), row_fingerprints(message, origin.partition, origin.offset)
        if joined:
            row, late = row._replace(label={head: tf.cast(outcome > 0, tf.float32)}), outcome == Outcome.LATE
            fingerprints = tf.where(late, _NONE, fingerprints)  # it was counted at its first sight
        batch, rejected, fingerprint = _padded(row, refused, fingerprints, (), features.spec, batch_size, late)
        return Element(batch, rejected, fingerprint, message, fields, window, last, left_out)

    @tf.autograph.experimental.do_not_convert
    def of_pieces(piece: Piece) -> Element:
        rows, message, window, last, left_out = piece
        fields, place = Fields(rows.values, rows.reason), rows.place
        row = features.of_fields(fields)
        refused = Rejected(rows.origin, row.reason, rows.alone, place.row)
        batch, rejected, fingerprint = _padded(row, refused, rows.fingerprint, place, features.spec, batch_size)
        return Element(batch, rejected, fingerprint, message, fields, window, last, left_out)

    # Threads of its own: a read that waits for the broker, inside C++, must not keep the train step or a save from running.
    options = tf.data.Options()
    options.threading.private_threadpool_size = _THREADS
    # Two raw batches wait while others are transformed: reading and features overlap. More would plan windows too far ahead.
    rows, transform = raw.prefetch(2), of_messages
    if features.parse.form.many:
        rows, transform = make_pieces(rows, features.parse, batch_size, parallel, negatives), of_pieces
    elif not negatives.all:
        rows = make_kept(rows, features.parse, negatives, batch_size, parallel)
    batches = rows.map(transform, num_parallel_calls=parallel, deterministic=True)
    return batches.prefetch(4).with_options(options)


def _padded(
    row: Row,
    as_they_came: Rejected,
    fingerprints: tf.Tensor,
    place: Place | tuple[()],
    spec: Spec,
    batch_size: int,
    late: tf.Tensor | tuple[()] = (),
) -> tuple[Batch, Rejected, tf.Tensor]:
    """The rows as a batch, the refused ones of them, and the fingerprint of the others.

    Args:
      row: b rows.
      as_they_came: all of them as if refused.
      fingerprints: int64 [b], of each.
      place: as in Batch, [b].
      spec: of the features.
      batch_size: B.
      late: as in Batch, [b].
    """
    valid = row.reason == 0
    rows = Batch(row.label, tf.where(valid, row.weight, 0.0), valid, row.features, as_they_came.origin, place, late)
    nowhere = tf.nest.map_structure(lambda _: -1, (rows.origin, place))
    never = tf.nest.map_structure(lambda _: False, late)
    nothing = Batch(dict.fromkeys(row.label, 0.0), 0.0, False, spec.padding, *nowhere, never)
    kept = tf.nest.map_structure(lambda x, padding: _where(valid, x, padding), rows.features, nothing.features)
    batch = tf.nest.map_structure(lambda x, padding: _pad(x, batch_size, padding), rows._replace(features=kept), nothing)
    # One that is here once more was refused, and told of, at its first sight.
    refused = tf.where(~valid if isinstance(late, tuple) else ~valid & ~late)[:, 0]
    rejected = tf.nest.map_structure(lambda x: tf.gather(x, refused), as_they_came)
    return batch, rejected, tf.reduce_sum(tf.where(valid, fingerprints, tf.zeros_like(fingerprints)))


def _where(valid: tf.Tensor, x: tf.Tensor, padding: float) -> tf.Tensor:
    """[b, ...] with the padding in the rows that are not valid, bool [b]."""
    return tf.where(tf.reshape(valid, [-1] + [1] * (x.shape.rank - 1)), x, tf.constant(padding, x.dtype))


def _pad(x: tf.Tensor, rows: int, padding: float) -> tf.Tensor:
    """[b, ...] to [rows, ...]."""
    paddings = [[0, rows - tf.shape(x)[0]]] + [[0, 0]] * (x.shape.rank - 1)
    return tf.ensure_shape(tf.pad(x, paddings, constant_values=tf.constant(padding, x.dtype)), [rows, *x.shape[1:]])
