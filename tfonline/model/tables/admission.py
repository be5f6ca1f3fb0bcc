"""How values that come with the stream get rows of the tables, and lose them: a part of the learner, as the optimizers' slots are.

It follows from the rows that were learned from, and from nothing else, so it is the same after a crash, in a replay, on any number
of replicas or workers. Every operation is free of order: equal values are written, ones are added, a largest one is found.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfonline.features.hashes import to_int64
from tfonline.model.tables.replicas import own
from tfonline.model.tables.vocabulary import WAYS, Vocabulary, places_of, table_of
from tfonline.settings.vocabulary import VocabularySettings

_OTHER = to_int64(0xD1B54A32D192ED03)  # odd; for counters, which must not meet where sets do
# An owner that was seen more often than that is gone after ten times --expire_rows, and not later.
_MOST_SEEN = 1024.0
_NEVER = 2.0**62
# With fixed_size: where a batch has more keys than a quarter of the rows, all rows are written, and hits are first added up in so
# many copies.
_FEW_ROWS, _COPIES = 4, 16


class Admission(tf.Module):
    """Gives the rows of a Vocabulary to keys.

    A key without a row is counted. Seen `admit_after` times, it takes a place of its set: a free one, or that of the key which was
    seen least, if that was not seen for `expire_rows` rows, and less often than the new one; what it was seen counts half for each
    such time. Where there is none it asks again when it is seen again. Of several keys of a set in one batch, the first one asks.
    The row begins as a copy of the row that the key shared before, in each table, slot and statistic.

    Counters are halved when half as many keys were counted as there are counters, so that they hold the recent ones. A key's
    counter is cleared when it is admitted: should it lose its row, it must be seen so often again.

    Args:
      vocabulary: whose rows.
      settings: when a key is admitted, and when it may lose its row.
      fixed_size: work on all keys of a batch, of which most are masked, for XLA knows no tensors of unknown size. What is masked is
        written behind the last row, which XLA leaves out. TensorFlow's own operations end there with an error, on a GPU, too.
      branches: leave out what a batch has no use for; on a GPU, that would be waited for.

    Attributes:
      seen: int64 [R], the row of the stream at which the key of a place was seen last.
      since: int64 [R], the row of the stream at which it got the place.
      hits: float32 [R], how often it was seen, up to 2^24; also before it got the place, as far as it was counted.
      misses: float32 [C], how often keys without a row were.
      counted: int64 [], such keys since `misses` was halved.
      claims: float32 [S], which key of a batch asks for a place of a set; 0 between batches.
      now: int64 [], rows of the stream.
      tally: int64 [4]: rows in use; keys that were admitted; of these, to another's row; and how often none was to be had.
    """

    def __init__(self, vocabulary: Vocabulary, settings: VocabularySettings, fixed_size: bool = False, branches: bool = True):
        super().__init__(name="admission")
        self._settings, self._fixed_size, self._branches = settings, fixed_size, branches
        rows, sets = vocabulary.spec.rows, vocabulary.num_sets
        self.seen = tf.Variable(tf.zeros([rows], tf.int64), trainable=False, name="seen")
        self.since = tf.Variable(tf.zeros([rows], tf.int64), trainable=False, name="since")
        self.hits = tf.Variable(tf.zeros([rows]), trainable=False, name="hits")
        self.misses = tf.Variable(tf.zeros([settings.admit_counters]), trainable=False, name="misses")
        self.counted = tf.Variable(0, trainable=False, dtype=tf.int64, name="counted")
        self.claims = tf.Variable(tf.zeros([sets]), trainable=False, name="claims")
        self.now = tf.Variable(0, trainable=False, dtype=tf.int64, name="now")
        self.tally = tf.Variable(tf.zeros([4], tf.int64), trainable=False, name="tally")

    def begin_with(self, vocabulary: Vocabulary, keys: np.ndarray) -> int:
        """Gives rows to keys of a new model, int64 [n], those that stand first before others; says how many got none."""
        places = places_of(keys, vocabulary.num_sets)
        vocabulary.keys.assign(table_of(keys, places, vocabulary.num_sets))
        placed = np.count_nonzero(places >= 0)
        self.tally.assign([placed, 0, 0, 0])
        return len(keys) - placed

    def update(
        self, vocabulary: Vocabulary, ids: tf.Tensor, keys: tf.Tensor, weight: tf.Tensor, tables: Sequence[tf.Variable]
    ) -> None:
        """After a global batch was learned from: this replica's copies.

        Args:
          vocabulary: the one that the object was made with.
          ids: int [B, F], as Vocabulary.ids gave them.
          keys: int64 [B, K].
          weight: float32 [B]; a row with 0, as of padding, does not move the clock.
          tables: [num_ids + 1, ...] each, all that has a row an id.
        """
        spec = vocabulary.spec
        own(self.now).assign_add(tf.math.count_nonzero(weight > 0))
        now = own(self.now).read_value()
        keys, ids = tf.reshape(keys, [-1]), tf.reshape(spec.keyed(ids), [-1])
        place = tf.cast(ids, tf.int64) - spec.first_id
        is_key = keys != 0
        hit = is_key & (place >= 0)
        self._count_hits(hit, place, now)

        miss = is_key & ~hit
        alive, keys, ids = self._only(miss, keys, ids)
        counter = self._index(alive, self._counters_of(keys), self._settings.admit_counters)
        misses = own(self.misses)
        _add_one(misses, counter)
        own(self.counted).assign_add(_count(alive, keys))
        count = tf.gather(misses, counter)
        due = _both(alive, count >= self._settings.admit_after)

        def admit() -> None:
            self._admit(vocabulary, now, due, keys, ids, count, tables)

        full = own(self.counted).read_value() >= max(1, self._settings.admit_counters // 2)
        if self._branches:
            tf.cond(tf.reduce_any(due), admit, lambda: None)
            tf.cond(full, lambda: self._halve(full), lambda: None)
        else:
            admit()
            self._halve(full)

    def _count_hits(self, hit: tf.Tensor, place: tf.Tensor, now: tf.Tensor) -> None:
        """Keys with a row, bool [n], at places int64 [n], are seen now."""
        seen, hits, rows = own(self.seen), own(self.hits), self.seen.shape[0]
        alive, place = self._only(hit, place)
        if self._fixed_size and place.shape[0] * _FEW_ROWS > rows:
            # Threads that add to one number wait for each other, and a few keys are most of all: each adds to one of several.
            spread = tf.range(place.shape[0], dtype=tf.int64) % _COPIES * rows + place
            spread = self._index(alive, spread, _COPIES * rows)
            found = tf.math.unsorted_segment_sum(tf.ones_like(spread, tf.float32), spread, _COPIES * rows)
            found = tf.reduce_sum(tf.reshape(found, [_COPIES, rows]), axis=0)
            hits.assign_add(found)
            seen.assign(tf.where(found > 0, now, seen))
            return
        place = self._index(alive, place, rows)
        _set(seen, place, now)
        _add_one(hits, place)

    def _admit(
        self,
        vocabulary: Vocabulary,
        now: tf.Tensor,
        due: tf.Tensor,
        keys: tf.Tensor,
        ids: tf.Tensor,
        count: tf.Tensor,
        tables: Sequence[tf.Variable],
    ) -> None:
        """Of the keys that are due, bool [n], one of each set takes a place, if there is one for it."""
        spec, vkeys, seen, hits = vocabulary.spec, own(vocabulary.keys), own(self.seen), own(self.hits)
        due, keys, ids, count = self._only(due, keys, ids, count)
        alive, sets, keys, ids, count = self._first_of_each_set(vocabulary, due, keys, ids, count)
        ways = sets[:, None] * WAYS + tf.range(WAYS, dtype=tf.int64)
        owners, idle = tf.gather(vkeys, sets), now - tf.gather(seen, ways)
        often = tf.cast(tf.minimum(tf.gather(hits, ways), _MOST_SEEN), tf.int64)
        often = tf.bitwise.right_shift(often, tf.minimum(idle // self._settings.expire_rows, 62))
        # As floats, which are exact up to 2^24: a GPU finds no least of whole numbers.
        often = tf.where(idle >= self._settings.expire_rows, tf.cast(often, tf.float32), _NEVER)
        often = tf.where(owners == 0, -1.0, often)
        way, least = tf.argmin(often, axis=1), tf.reduce_min(often, axis=1)
        takes, num_asked = _both(alive, least < count), _count(alive, keys)
        alive, sets, way, least, keys, ids, count = self._only(takes, sets, way, least, keys, ids, count)
        num_admitted, num_free = _count(alive, keys), tf.math.count_nonzero(_both(alive, least < 0))
        own(self.tally).assign_add(tf.stack([num_free, num_admitted, num_admitted - num_free, num_asked - num_admitted]))

        sets = self._index(alive, sets, vocabulary.num_sets)
        place = self._index(alive, sets * WAYS + way, spec.rows)
        tf.raw_ops.ResourceScatterNdUpdate(ref=vkeys.handle, indices=tf.stack([sets, way], axis=1), updates=keys)
        _set(seen, place, now)
        _set(own(self.since), place, now)
        _set(hits, place, count)
        counter = self._index(alive, self._counters_of(keys), self._settings.admit_counters)
        _set(own(self.misses), counter, tf.constant(0.0))
        rows = self._index(alive, spec.first_id + place, spec.first_id + spec.rows + 1)
        for table in map(own, tables):
            _set(table, rows, tf.gather(table, ids))

    def _first_of_each_set(self, vocabulary: Vocabulary, due: tf.Tensor | None, keys: tf.Tensor, *of_keys: tf.Tensor) -> tuple:
        """A mask, sets, and of each the first key that is due, with what belongs to it."""
        claims, n = own(self.claims), tf.shape(keys)[0]
        # n to 1, so that the first key has the largest; exact up to 2^24 keys.
        ones = tf.ones_like(keys, tf.float32)
        order = tf.cast(n - tf.range(n), tf.float32) if self._fixed_size else tf.cumsum(ones, reverse=True)
        sets = self._index(due, vocabulary.sets_of(keys), vocabulary.num_sets)
        tf.raw_ops.ResourceScatterMax(resource=claims.handle, indices=sets, updates=order)
        if self._fixed_size and keys.shape[0] > vocabulary.num_sets:  # fewer sets than keys: what is to do is done by set
            largest = claims.read_value()
            claims.assign(tf.zeros_like(largest))
            at = tf.clip_by_value(n - tf.cast(largest, tf.int32), 0, n - 1)
            return largest > 0, tf.range(vocabulary.num_sets, dtype=tf.int64), *(tf.gather(t, at) for t in (keys, *of_keys))
        first = _both(due, tf.gather(claims, sets) == order)
        _set(claims, sets, tf.constant(0.0))
        return self._only(first, sets, keys, *of_keys)

    def _halve(self, full: tf.Tensor) -> None:
        """Halves the counters where they are full, bool []."""
        misses, counted = own(self.misses), own(self.counted)
        misses.assign(misses * tf.where(full, 0.5, 1.0))
        counted.assign(tf.where(full, tf.constant(0, tf.int64), counted))

    def _counters_of(self, keys: tf.Tensor) -> tf.Tensor:
        return counters_of(keys, self._settings.admit_counters)

    def _only(self, which: tf.Tensor, *tensors: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
        """A mask, None for all, and those of tensors [n, ...]; with fixed_size all of them stay, and the mask is `which`."""
        if self._fixed_size:
            return which, *tensors
        at = tf.reshape(tf.where(which), [-1])
        return None, *(tf.gather(t, at) for t in tensors)

    def _index(self, alive: tf.Tensor | None, index: tf.Tensor, end: int) -> tf.Tensor:
        """Places to write to; with fixed_size `end`, behind which nothing is written, for those that are masked."""
        return tf.where(alive, index, tf.constant(end, index.dtype)) if self._fixed_size else index


def counters_of(keys: tf.Tensor, num_counters: int) -> tf.Tensor:
    """int64 [n] to the counter of each, int64 [n]; num_counters is a power of 2."""
    return tf.bitwise.bitwise_and(tf.bitwise.right_shift(keys * _OTHER, tf.constant(20, tf.int64)), num_counters - 1)


def _both(mask: tf.Tensor | None, which: tf.Tensor) -> tf.Tensor:
    """Those of a mask, None for all, that are also among others, bool [n]."""
    return which if mask is None else mask & which


def _count(mask: tf.Tensor | None, tensor: tf.Tensor) -> tf.Tensor:
    """How many of [n] are in a mask, None for all: int64 []."""
    return tf.size(tensor, tf.int64) if mask is None else tf.math.count_nonzero(mask)


def _add_one(variable: tf.Variable, places: tf.Tensor) -> None:
    """One number for all places takes TensorFlow half as long as one for each."""
    tf.raw_ops.ResourceScatterAdd(resource=variable.handle, indices=places, updates=tf.constant(1.0))


def _set(variable: tf.Variable, places: tf.Tensor, values: tf.Tensor) -> None:
    """Writes a value for each place, or one for all, []."""
    tf.raw_ops.ResourceScatterUpdate(resource=variable.handle, indices=places, updates=values)
