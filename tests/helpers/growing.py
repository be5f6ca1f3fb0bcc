"""A vocabulary that grows with the stream, written down in plain Python: what the graph has to agree with to the bit."""

import numpy as np
from learner_helpers import SEED_RATES

from tfonline.features.spec import Input, Spec, VocabularySpec
from tfonline.model.learner import Learner
from tfonline.model.networks.wide_deep.model import WideDeep
from tfonline.model.tables.replicas import make_strategy
from tfonline.settings.vocabulary import VocabularySettings

WAYS = 8
BUCKETS, FIXED, FIELDS, KEYED = 5, 3, 3, 2  # field 0 has an id of its own; 1 and 2 have keys


def growing_spec(rows):
    """Ids: fixed ones, buckets, the vocabulary's rows."""
    first = FIXED + BUCKETS
    own = {"keys": Input(KEYED, "int64", 0)}
    return Spec.of(first + rows, FIELDS, own, vocabulary=VocabularySpec(rows, first, ((FIELDS - KEYED, FIELDS),)))


def growing_learner(settings, num_replicas=1, jit_compile=False, history=True, average_rows=100, late_labels="wait"):
    strategy = make_strategy(num_replicas, "cpu")
    with strategy.scope():
        network = WideDeep(
            growing_spec(settings.vocabulary_rows), 2, (4,), "glorot", 0.1, seed=3, history=history, average_rows=average_rows
        )
    network.late_labels = late_labels
    return Learner(strategy, network, SEED_RATES, jit_compile=jit_compile, vocabulary=settings)


def settings_of(rows=16, admit_after=2, expire_rows=10, counters=64):
    return VocabularySettings(rows, "stream", admit_after, expire_rows, counters)


def _int64(n):
    return (n + 2**63) % 2**64 - 2**63


class PlainVocabulary:
    """The same, key by key."""

    def __init__(self, settings):
        self.s = settings
        self.sets = settings.vocabulary_rows // WAYS
        self.keys = np.zeros([self.sets, WAYS], np.int64)
        self.seen = np.zeros(settings.vocabulary_rows, np.int64)
        self.since = np.zeros(settings.vocabulary_rows, np.int64)
        self.hits = np.zeros(settings.vocabulary_rows)
        self.misses = np.zeros(settings.admit_counters)
        self.counted = self.now = 0
        self.tally = [0, 0, 0, 0]

    def set_of(self, key):
        bits = self.sets.bit_length() - 1
        return ((int(key) * 0x9E3779B97F4A7C15) % 2**64) >> (64 - bits)

    def counter_of(self, key):
        return (_int64(int(key) * 0xD1B54A32D192ED03) >> 20) & (self.s.admit_counters - 1)

    def place(self, key):
        """Where a key stands, or None."""
        ways = np.flatnonzero(self.keys[self.set_of(key)] == key)
        return self.set_of(key) * WAYS + int(ways[0]) if key and len(ways) else None

    def update(self, keys, weight):
        """Returns the keys that were admitted, with their places."""
        self.now += int(np.count_nonzero(weight > 0))
        keys = [int(k) for k in np.ravel(keys) if k]
        missed = [k for k in keys if self.place(k) is None]
        for key in keys:
            if (place := self.place(key)) is not None:
                self.seen[place], self.hits[place] = self.now, self.hits[place] + 1
        for key in missed:
            self.misses[self.counter_of(key)] += 1
        self.counted += len(missed)
        count = {key: self.misses[self.counter_of(key)] for key in missed}
        first = {}
        for key in missed:
            if count[key] >= self.s.admit_after:
                first.setdefault(self.set_of(key), key)
        admitted = {}
        for of_set, key in first.items():
            way = self._way_for(of_set, count[key])
            if way is None:
                self.tally[3] += 1
                continue
            self.tally[1] += 1
            self.tally[2 if self.keys[of_set, way] else 0] += 1
            place = of_set * WAYS + way
            self.keys[of_set, way], self.hits[place] = key, count[key]
            self.seen[place] = self.since[place] = self.now
            admitted[key] = place
        for key in admitted:
            self.misses[self.counter_of(key)] = 0
        if self.counted >= self.s.admit_counters // 2:
            self.misses, self.counted = self.misses / 2, 0
        return admitted

    def _way_for(self, of_set, count):
        often = []
        for way in range(WAYS):
            place = of_set * WAYS + way
            idle = self.now - self.seen[place]
            if not self.keys[of_set, way]:
                often.append(-1)
            elif idle < self.s.expire_rows:
                often.append(2**62)
            else:
                often.append(int(min(self.hits[place], 1024)) >> min(idle // self.s.expire_rows, 62))
        way = int(np.argmin(often))
        return way if often[way] < int(count) else None
