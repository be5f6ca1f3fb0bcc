"""A checksum of all that a model is served by, which moves with the rows that change. Imports no TensorFlow.

It is the sum, mod 2^64, of a hash of each row of each variable. So it depends on no order, and who changes some rows takes off
their hashes and adds the new ones. It finds mistakes: a row that is missing, another one's, or of another time. It finds no
forgeries.

Let `mix` be the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), and `a_j = mix(j G) | 1` with G = 0x9E3779B97F4A7C15.
The row r of the variable `name` has the hash `mix(mix(seed + r) + sum_j a_j w_j)`: its bytes are the little-endian 32-bit words
w_1 to w_k, the last one filled up with zeros, and `seed` is the first 8 bytes of the name's SHA-256, little-endian.
"""

import functools
import hashlib
import math
from collections.abc import Iterator

import numpy as np

_GOLDEN = 0x9E3779B97F4A7C15
_AT_ONCE = 1 << 20  # words: what is worked on stays in the cache


def row_hashes(name: str, values: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
    """The hash of each row, uint64 [n].

    Args:
      name: the variable's.
      values: [n, ...], its rows; of a variable without an axis, [].
      rows: int64 [n], their numbers; None: 0 to n - 1.
    """
    words = words_of(values)
    n, num_words = words.shape
    rows = np.arange(n, dtype=np.uint64) if rows is None else rows.astype(np.uint64)
    seed, factors = _seed(name), _factors(num_words)
    hashes = np.empty(n, np.uint64)
    for part in _parts(n, num_words):
        sums = _mix(rows[part] + seed)
        for j in range(num_words) if num_words <= _FEW_WORDS else ():
            sums += words[part, j] * factors[j]
        if num_words > _FEW_WORDS:
            sums += (words[part] * factors).sum(axis=1, dtype=np.uint64)
        hashes[part] = _mix(sums)
    return hashes


def total(hashes: np.ndarray) -> int:
    """The sum of hashes mod 2^64."""
    return int(hashes.sum(dtype=np.uint64))


def moved(checksum: int, before: int, after: int) -> int:
    """A checksum, where rows whose hashes' sum was `before` have changed, and is `after` now."""
    return (checksum - before + after) % 2**64


def words_of(values: np.ndarray) -> np.ndarray:
    """Rows as 32-bit words, uint32 [n, k]."""
    n, width = (values.shape[0], math.prod(values.shape[1:])) if values.ndim else (1, 1)
    of_bytes = np.ascontiguousarray(values).reshape(n, width).view(np.uint8)
    if missing := -of_bytes.shape[1] % 4:
        of_bytes = np.pad(of_bytes, ((0, 0), (0, missing)))
    return of_bytes.view("<u4")


# So many words a row are taken one after the other, for all rows at once; with more, row by row.
_FEW_WORDS = 32


def _parts(n: int, num_words: int) -> Iterator[slice]:
    size = max(1, _AT_ONCE // max(1, num_words))
    return (slice(i * size, (i + 1) * size) for i in range(math.ceil(n / size)))


@functools.cache
def _seed(name: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))


@functools.cache
def _factors(count: int) -> np.ndarray:
    return _mix(np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GOLDEN)) | np.uint64(1)


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
