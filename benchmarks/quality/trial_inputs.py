"""What the trials' network gets of each row, in numpy: ids, and what is counted. Nothing here hangs on weights, so it is made once.

The stream is cut into batches of 100 rows. What a row gets is by the counts from before its batch, as in the trainer.
"""

import functools
import math
import pathlib
from typing import NamedTuple

import numpy as np

INTEGERS, CATEGORIES = 13, 26
FIELDS = INTEGERS + CATEGORIES
BATCH = 100
HEAD = 5 / 7
_MIN_COUNT = 7  # of a value in the head, to have an id of its own
_OOV_BUCKETS = 200_000
_CROSS_BUCKETS = 2**24
_PRIOR_ROWS = 5.0
_START = 4.0, 1.0  # rows and clicks of everybody, before the first


class Stream(NamedTuple):
    """Rows in the order in which they are learned.

    Attributes:
      labels: float32 [n].
      numbers: float64 [n, 13], NaN where missing.
      codes: int64 [n, 26], a number a value of a column; 0 where missing.
    """

    labels: np.ndarray
    numbers: np.ndarray
    codes: np.ndarray


def read(path: str, kept: pathlib.Path) -> Stream:
    """The stream of a TSV file, plain or .gz; from `kept`, an .npz file, where it is there."""
    if not kept.exists():
        import gzip

        labels, numbers, codes = [], [], []
        of_column: list[dict[bytes, int]] = [{b"": 0} for _ in range(CATEGORIES)]
        with (gzip.open if path.endswith(".gz") else open)(path, "rb") as rows:
            for line in rows:
                fields = line.rstrip(b"\r\n").split(b"\t")
                labels.append(fields[0] == b"1")
                numbers.append([float(f) if f else math.nan for f in fields[1 : 1 + INTEGERS]])
                codes.append([known.setdefault(f, len(known)) for known, f in zip(of_column, fields[1 + INTEGERS :], strict=True)])
        with kept.open("wb") as f:
            np.savez(f, labels=np.array(labels, np.float32), numbers=np.array(numbers), codes=np.array(codes, np.int64))
    with np.load(kept) as found:
        return Stream(found["labels"], found["numbers"], found["codes"])


class Inputs:
    """The inputs of a stream by name, each float32 [n, ...]; kept in a folder.

    Args:
      stream: the rows. The dictionary is of the first 5/7 of them.
      folder: of what is kept.

    Attributes:
      ids: int64 [n, 39].
      num_ids: ids are below it.
    """

    def __init__(self, stream: Stream, folder: pathlib.Path):
        self._stream, self._folder = stream, folder
        self.labels = stream.labels
        self.n = len(stream.labels)
        self.ids, self.num_ids = _ids(stream, int(self.n * HEAD))

    def get(self, name: str) -> np.ndarray:
        """An input: `numbers`, `tide`, or a method of this class with its numbers behind, as in `ids:20000`."""
        path = self._folder / f"{name.replace(':', '-')}.npy"
        if not path.exists():
            kind, *numbers = name.split(":")
            made = getattr(self, kind)(*map(int, numbers)).astype(np.float32)
            beside = path.with_suffix(f".{id(made)}.tmp")
            with beside.open("wb") as f:
                np.save(f, made)
            beside.rename(path)
        return np.load(path, mmap_mode="r")

    def history(self) -> np.ndarray:
        """Lifts of ids and `ln(1 + rows) / 10`, [n, 78]: the trainer's --history."""
        rows, clicks, share = self._id_counts(0)
        return np.concatenate([lift(rows, clicks, share), np.log1p(rows) / 10], axis=1)

    def decayed(self, half_life: int) -> np.ndarray:
        """The same of counts that halve in so many rows of the stream, [n, 78]."""
        rows, clicks, share = self._id_counts(half_life)
        return np.concatenate([lift(rows, clicks, share), np.log1p(rows) / 10], axis=1)

    def id_counts(self) -> np.ndarray:
        """Rows and clicks of ids, and everybody's share, [n, 79]."""
        return np.concatenate(self._id_counts(0), axis=1)

    def pair_counts(self) -> np.ndarray:
        """Rows and clicks of the pairs of the ring of 10, and everybody's share, [n, 391]."""
        return np.concatenate(self._pair_counts(0), axis=1)

    def pairs(self, half_life: int = 0) -> np.ndarray:
        """Of each column the mean lift of its 10 pairs, [n, 39]: the trainer's --cross_buckets and --cross_partners=10."""
        return lift(*self._pair_counts(half_life)) @ mean_of(*ring(10))

    def ring(self, partners: int) -> np.ndarray:
        """The same with so many partners a column; 38: with all, 741 pairs a row."""
        left, right = ring(partners)
        return lift(*self._counts(self._crosses(left, right), _CROSS_BUCKETS, 0)) @ mean_of(left, right)

    def sides(self) -> np.ndarray:
        """Of each column the mean lift of its pairs with the columns before it, and of those with the columns behind, [n, 78]."""
        left, right = ring(10)
        near = right - left <= 5  # the left one stands before the right one; else the ring closes between them
        before, behind = np.where(near, left, right), np.where(near, right, left)
        mean = np.zeros([len(left), 2 * FIELDS])
        mean[np.arange(len(left)), FIELDS + before] = mean[np.arange(len(left)), behind] = 1
        return lift(*self._pair_counts(0)) @ (mean / mean.sum(axis=0))

    def far(self, partners: int) -> np.ndarray:
        """As `ring`, without the 10 nearest."""
        left, right = ring(partners)
        apart = np.minimum(right - left, FIELDS - (right - left))
        left, right = left[apart > 5], right[apart > 5]
        return lift(*self._counts(self._crosses(left, right), _CROSS_BUCKETS, 0)) @ mean_of(left, right)

    def shrunk(self, prior: int) -> np.ndarray:
        """The same, smoothed by so many rows."""
        return lift(*self._pair_counts(0), prior) @ mean_of(*ring(10))

    def each_pair(self) -> np.ndarray:
        """The lift of each of the 195 pairs."""
        return lift(*self._pair_counts(0))

    def sure(self) -> np.ndarray:
        """As `pairs`, each pair weighted by rows / (rows + 5): those seen often say more. And the weights' means, [n, 78]."""
        rows, clicks, share = self._pair_counts(0)
        weight, mean = rows / (rows + _PRIOR_ROWS), mean_of(*ring(10))
        return np.concatenate(
            [(lift(rows, clicks, share) * weight) @ mean / np.maximum(weight @ mean, 0.05), weight @ mean], axis=1
        )

    def seen(self) -> np.ndarray:
        """Of each column the share of its pairs that was seen before, and the mean of `ln(1 + rows) / 10`, [n, 78]."""
        rows = self._pair_counts(0)[0]
        return np.concatenate([(rows > 0) @ mean_of(*ring(10)), np.log1p(rows) / 10 @ mean_of(*ring(10))], axis=1)

    def over_ids(self) -> np.ndarray:
        """As `pairs`, each pair smoothed towards the mean of its two ids' lifts, [n, 39]."""
        left, right = ring(10)
        rows, clicks, share = self._pair_counts(0)
        of_ids = lift(*self._id_counts(0))
        prior = logit(share) + (of_ids[:, left] + of_ids[:, right]) / 2
        return lift(rows, clicks, 1 / (1 + np.exp(-prior))) @ mean_of(left, right) + of_ids

    def triples(self, prior: int = 5) -> np.ndarray:
        """Of each column the mean lift of four triples with neighbours of the ring, [n, 39]."""
        columns = np.arange(FIELDS)
        keys = self._keys()
        one, two, three = (
            np.concatenate([(columns + step) % FIELDS for step in steps]) for steps in ((0, 0, 0, 0), (1, 1, 2, 3), (2, 4, 5, 9))
        )
        mixed = _mixed(_mixed(keys[:, one], keys[:, two]), keys[:, three])
        rows, clicks, share = self._counts((mixed % np.uint64(_CROSS_BUCKETS)).astype(np.int64), _CROSS_BUCKETS, 0)
        mean = np.zeros([len(one), FIELDS])
        for fields in (one, two, three):
            mean[np.arange(len(one)), fields] = 1
        return lift(rows, clicks, share, prior) @ (mean / mean.sum(axis=0))

    def gain(self, num_pairs: int) -> np.ndarray:
        """As `pairs`, of the pairs of all 741 that gain most over the better of their two ids in the first tenth of the rows."""
        left, right = np.triu_indices(FIELDS, 1)
        first = self.n // 10
        few = Inputs(Stream(*(part[:first] for part in self._stream)), self._folder)
        few.ids, few.num_ids = self.ids[:first], self.num_ids
        rows, clicks, share = few._counts(few._crosses(left, right), _CROSS_BUCKETS, 0)
        base = logit(share)
        of_ids = base + lift(*few._id_counts(0))
        loss = np.array([_loss(of_ids[:, f], few.labels) for f in range(FIELDS)])
        of_pairs = base + lift(rows, clicks, share)
        gains = [
            min(loss[i], loss[j]) - _loss(of_pairs[:, k], few.labels) for k, (i, j) in enumerate(zip(left, right, strict=True))
        ]
        best = np.sort(np.argsort(gains)[::-1][:num_pairs])
        left, right = left[best], right[best]
        return lift(*self._counts(self._crosses(left, right), _CROSS_BUCKETS, 0)) @ mean_of(left, right)

    def age(self) -> np.ndarray:
        """How long ago each id was seen last: `ln(1 + batches) / 10`, 1 where never, [n, 39]."""
        last, found = np.full(self.num_ids, -1, np.int64), np.empty([self.n, FIELDS])
        for b, rows in enumerate(batches(self.n)):
            of = last[self.ids[rows]]
            found[rows] = np.where(of < 0, 1.0, np.log1p(b - of) / 10)
            last[self.ids[rows]] = b
        return found

    def tide(self) -> np.ndarray:
        """How far everybody's share of clicks of late is from that of all rows: half-lives of 500, 2,000, 10,000 rows, [n, 3]."""
        keys = np.zeros([self.n, 1], np.int64)
        share = logit(self._counts(keys, 1, 0)[2])
        of_late = [self._counts(keys, 1, half_life)[:2] for half_life in (500, 2000, 10000)]
        return np.concatenate([logit((c + 50 * 0.25) / (v + 50)) - share for v, c in of_late], axis=1)

    def numeric(self) -> np.ndarray:
        """Logarithms at mean 0 and variance 1 over the rows so far, and a 1 for each that is missing, [n, 26]."""
        numbers = np.sign(self._stream.numbers) * np.log1p(np.abs(self._stream.numbers))
        there = ~np.isnan(numbers)
        filled = np.where(there, numbers, 0)
        sums, found = np.zeros([3, INTEGERS]), np.empty([self.n, 2 * INTEGERS])
        for rows in batches(self.n):
            count = np.maximum(sums[0], 1)
            mean = sums[1] / count
            deviation = np.where(sums[0] > 0, np.sqrt(np.maximum(sums[2] / count - mean**2, 0.01)), 1)
            scaled = np.clip((filled[rows] - mean) / deviation, -5, 5)
            found[rows] = np.concatenate([np.where(there[rows], scaled, 0), ~there[rows]], axis=1)
            sums += np.stack([there[rows].sum(0), filled[rows].sum(0), (filled[rows] ** 2).sum(0)])
        return found

    def _id_counts(self, half_life: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._counts(self.ids, self.num_ids, half_life)

    def _pair_counts(self, half_life: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._counts(self._crosses(*ring(10)), _CROSS_BUCKETS, half_life)

    def _counts(self, keys: np.ndarray, num_keys: int, half_life: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows and clicks [n, w] of each key [n, w] before the batch, and everybody's share [n, 1]. Half-life 0: nothing fades."""
        rows, clicks, last = np.zeros(num_keys, np.float32), np.zeros(num_keys, np.float32), np.zeros(num_keys, np.int32)
        keep = 0.5 ** (BATCH / half_life) if half_life else 1.0
        total = np.array(_START)
        found = np.empty([2, *keys.shape], np.float32)
        shares = np.empty([len(keys), 1])
        for b, part in enumerate(batches(len(keys))):
            k = keys[part]
            if half_life:
                faded = (keep ** (b - last[k])).astype(np.float32)
                rows[k], clicks[k], last[k] = rows[k] * faded, clicks[k] * faded, b
            found[:, part] = rows[k], clicks[k]
            shares[part] = total[1] / total[0]
            y = self.labels[part]
            np.add.at(rows, k, np.float32(1))
            np.add.at(clicks, k[y > 0], np.float32(1))
            total = total * keep + (len(y), y.sum())
        return found[0], found[1], shares

    @functools.cache  # noqa: B019 - there is one of these a process
    def _keys(self) -> np.ndarray:
        """uint64 [n, 39], unlike between columns."""
        codes = np.concatenate([self.ids[:, :INTEGERS], self._stream.codes], axis=1).astype(np.uint64)
        return _mixed(codes, np.arange(FIELDS, dtype=np.uint64))

    def _crosses(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        keys = self._keys()
        return (_mixed(keys[:, left], keys[:, right]) % np.uint64(_CROSS_BUCKETS)).astype(np.int64)


def batches(n: int) -> list[slice]:
    """The batches of n rows; the last may be short."""
    return [slice(first, min(first + BATCH, n)) for first in range(0, n, BATCH)]


def ring(partners: int) -> tuple[np.ndarray, np.ndarray]:
    """The columns i < j of each pair, as in tfonline.features.spec.Pairs."""
    left, right = np.triu_indices(FIELDS, 1)
    apart = np.minimum(right - left, FIELDS - (right - left))
    near = 2 * apart <= partners
    return left[near], right[near]


def mean_of(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """[pairs, 39], which makes of pairs' numbers the mean of each column; 0 of a column without pairs."""
    mean = np.zeros([len(left), FIELDS], np.float32)
    for fields in (left, right):
        mean[np.arange(len(left)), fields] = 1
    return mean / np.maximum(mean.sum(axis=0), 1)


def logit(p: np.ndarray) -> np.ndarray:
    """Of probabilities."""
    return np.log(p / (1 - p))


def lift(rows: np.ndarray, clicks: np.ndarray, share: np.ndarray, prior: float = _PRIOR_ROWS) -> np.ndarray:
    """How a share of clicks differs from everybody's, smoothed by `prior` rows."""
    return np.log((clicks + prior * share) / (rows - clicks + prior * (1 - share))) - logit(share)


def _loss(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(np.logaddexp(0, logits) - logits * labels))


def _mixed(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    x = a * np.uint64(0xBF58476D1CE4E5B9) + b
    x = (x ^ (x >> np.uint64(31))) * np.uint64(0x9E3779B97F4A7C15)
    return x ^ (x >> np.uint64(29))


def _ids(stream: Stream, head: int) -> tuple[np.ndarray, int]:
    """As the trainer's: buckets of numbers, and of the head's values those that are there 7 times; others share buckets."""
    n = len(stream.labels)
    ids, first = np.empty([n, FIELDS], np.int64), 0
    for j in range(INTEGERS):
        number = stream.numbers[:, j]
        there = np.nan_to_num(number)
        square = np.floor(np.log(np.maximum(there, 3)) ** 2)
        bucket = np.where(there <= 2, 2 + np.clip(there, -1, 2), 4 + square)
        width = 5 + math.floor(math.log(max(np.nanmax(number[:head]), 3)) ** 2)
        ids[:, j] = first + np.where(np.isnan(number), 0, np.minimum(bucket, width - 1))
        first += width
    for j in range(CATEGORIES):
        codes = stream.codes[:, j]
        counts = np.bincount(codes[:head], minlength=codes.max() + 1)
        known = np.flatnonzero(counts >= _MIN_COUNT)
        known = known[known > 0]
        id_of = np.full(len(counts), -1)
        id_of[0] = first  # missing
        id_of[known] = first + 1 + np.arange(len(known))
        ids[:, INTEGERS + j] = id_of[codes]
        first += 1 + len(known)
    with np.errstate(over="ignore"):
        hashed = _mixed(stream.codes.astype(np.uint64), np.arange(100, 100 + CATEGORIES, dtype=np.uint64)[None])
    of_categories = ids[:, INTEGERS:]
    of_categories[...] = np.where(of_categories < 0, first + (hashed % np.uint64(_OOV_BUCKETS)).astype(np.int64), of_categories)
    return ids, first + _OOV_BUCKETS
