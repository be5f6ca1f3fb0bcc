"""Criteo-shaped rows without Criteo's data, with a planted signal whose best possible score is known.

    python tools/synthetic.py --rows=100000 --seed=1 --output=rows.tsv.gz
    python tools/synthetic.py --rows=100000 --data=avazu --output=rows.tsv    of another stream, see synthetic_streams.py

A row is a label, I1..I13 and C1..C26, tab separated, an empty field for a missing value. The missing rates, the integers'
quantiles, the numbers of ids and their skew follow the real rows, rounded. Every cell is one lookup: 16 random bits into
a table of its column's 65,536 equally likely values; the same bits look up what the value adds to the row's logit.

Ids come and go: in the drifting columns one cell in eight holds an id of its time, so later rows hold ids that no earlier
row had. With --id_lifetime=L all other ids do, too: each is used for L rows, and then another id has its place; at row L / 2
half of the first ones are gone. The seed changes the draw, never the world: rows of seed 2 are a fair test for a model of seed 1.
"""

import functools
import gzip
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from command_line import Parser, at_least, run

from tfonline.lifecycle import Exit, UserError

_BLOCK_ROWS = 8192
_SIZE = 1 << 16  # entries of a column's table

# I1..I13: the rate of missing values and the quantiles of the others at _LEVELS.
_LEVELS = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
_INTEGERS = (
    (0.45, (0, 0, 0, 1, 3, 15, 40, 400)),
    (0.00, (-3, -1, 0, 3, 35, 500, 2200, 10000)),
    (0.21, (0, 1, 2, 6, 17, 75, 220, 65000)),
    (0.21, (0, 0, 2, 4, 10, 26, 40, 350)),
    (0.03, (0, 2, 330, 2800, 10000, 63000, 350000, 2000000)),
    (0.22, (0, 0, 8, 32, 100, 480, 1300, 110000)),
    (0.04, (0, 0, 1, 3, 12, 65, 220, 6500)),
    (0.00, (0, 0, 2, 7, 19, 42, 48, 1700)),
    (0.04, (0, 1, 10, 39, 110, 440, 1000, 9500)),
    (0.45, (0, 0, 0, 1, 1, 2, 3, 7)),
    (0.04, (0, 0, 1, 1, 3, 11, 26, 120)),
    (0.76, (0, 0, 0, 0, 1, 4, 19, 190)),
    (0.21, (0, 0, 2, 4, 10, 29, 49, 1600)),
)
# C1..C26: the rate of missing values, the number of ids, and s where the id of rank r has popularity ~ r**-s (s is not 1).
_CATEGORIES = (
    (0.00, 600, 2.0), (0.00, 500, 1.05), (0.03, 60000, 0.85), (0.03, 30000, 0.95), (0.00, 150, 2.6), (0.12, 10, 1.5),
    (0.00, 8500, 0.75), (0.00, 300, 2.3), (0.00, 3, 3.5), (0.00, 14000, 1.05), (0.00, 4000, 0.8), (0.03, 56000, 0.9),
    (0.00, 3000, 0.8), (0.00, 26, 2.0), (0.00, 6000, 0.7), (0.03, 46000, 0.85), (0.00, 10, 1.45), (0.00, 2800, 0.9),
    (0.44, 1300, 1.5), (0.44, 3, 0.3), (0.03, 52000, 0.9), (0.76, 12, 2.0), (0.00, 14, 1.8), (0.03, 15000, 1.05),
    (0.44, 54, 1.5), (0.44, 11000, 1.02),
)  # fmt: skip

# The planted signal. Weights of the standardised log of an integer, of a normal value per id, and of one product of such.
_BIAS = -1.77
_INTEGER_WEIGHTS = {2: 0.3, 5: -0.4, 6: -0.3, 7: 0.4, 11: 0.45}
_CATEGORY_WEIGHTS = {2: 0.5, 4: 0.4, 7: 0.4, 14: 0.4, 17: 0.4, 26: 0.5}
_CROSS = (17, 23, 0.5)  # value of C17's id x value of C23's id x weight

# In these columns the last eighth of the table holds ids of the row's time: one new id every 16 rows, used less with age.
_DRIFTING = (3, 4, 12, 16, 21, 26)
_FRESH_FROM = _SIZE - _SIZE // 8
_ROWS_PER_NEW_ID = 16
# Numbers of the ids that come in the place of others: behind those of the drifting columns.
_FIRST_RENEWED = 1 << 26


class Block(NamedTuple):
    """Consecutive rows.

    Attributes:
      lines: the rows as TSV, without a line end.
      probability: float64 [rows], the true probability that the label is 1.
      label: uint8 [rows], 0 or 1, as in the lines.
    """

    lines: list[bytes]
    probability: np.ndarray
    label: np.ndarray


class _Column(NamedTuple):
    """A column's table: the cell's text (object [65536], bytes) and what it adds to the logit (float64 [65536] or None)."""

    text: np.ndarray
    effect: np.ndarray | None


def rows(n: int, seed: int = 1, start: int = 0, lifetime: int = 0) -> Iterator[Block]:
    """Makes rows start .. start + n of the endless stream of a seed, in blocks of at most 8,192.

    Row i depends on the seed, on the lifetime and on i alone, so a longer run begins with the rows of a shorter one.

    Args:
      n: how many.
      seed: of the draw.
      start: the first row.
      lifetime: so many rows an id is used before another one has its place; 0: for ever.
    """
    columns = list(_columns())
    renewed = [_Renewed(j, columns[12 + j].text, lifetime) for j in range(1, 27)] if lifetime else []
    left, right = _cross_effects()
    first = start
    while first < start + n:
        number, skip = divmod(first, _BLOCK_ROWS)
        for column in renewed:
            columns[12 + column.number] = columns[12 + column.number]._replace(text=column.at(number * _BLOCK_ROWS))
        block = _block(columns, left, right, seed, number)
        keep = slice(skip, min(_BLOCK_ROWS, skip + start + n - first))
        yield Block(block.lines[keep], block.probability[keep], block.label[keep])
        first += keep.stop - skip


def bayes_auc(probability: np.ndarray) -> float:
    """The AUC to expect of a model that knows the true probabilities: no model does better, but for luck.

    Over all pairs of different rows (i, j): the chance that i is positive, j negative and i ranked above j (half where
    they tie), over the chance that i is positive and j negative.

    Args:
      probability: float64 [rows], at least two.
    """
    values, group = np.unique(probability, return_inverse=True)
    positives = np.bincount(group, probability, len(values))
    negatives = np.bincount(group, 1 - probability, len(values))
    with_itself = np.sum(probability * (1 - probability))
    below = np.cumsum(negatives) - negatives
    won = positives @ below + (positives @ negatives - with_itself) / 2
    return float(won / (positives.sum() * negatives.sum() - with_itself))


def bayes_log_loss(probability: np.ndarray) -> float:
    """The log loss (nats a row) to expect of a model that knows the true probabilities: their mean entropy."""
    p = np.clip(probability, 1e-15, 1 - 1e-15)
    return float(-np.mean(p * np.log(p) + (1 - p) * np.log1p(-p)))


def summary(probability: np.ndarray) -> str:
    """One line about the rows made: what the best possible model scores on them.

    Args:
      probability: float64 [rows], at least two.
    """
    return (
        f"synthetic: bayes_auc={bayes_auc(probability):.4f} bayes_log_loss={bayes_log_loss(probability):.4f} "
        f"base_rate={probability.mean():.4f}"
    )


def _block(columns: list[_Column], left: np.ndarray, right: np.ndarray, seed: int, number: int) -> Block:
    # The raw bits of Philox are the same in every version of numpy, which the methods of Generator are not.
    bits = np.random.Philox(key=np.array([seed, number], np.uint64))
    cells = bits.random_raw(39 * _BLOCK_ROWS // 4).astype("<u8").view("<u2").reshape(39, _BLOCK_ROWS)
    chance = (bits.random_raw(_BLOCK_ROWS) >> np.uint64(11)) * 2.0**-53

    logit = left[cells[12 + _CROSS[0]]] * right[cells[12 + _CROSS[1]]] + _BIAS
    texts = []
    for k, column in enumerate(columns):
        text = column.text[cells[k]]
        effect = None if column.effect is None else column.effect[cells[k]]
        if k - 12 in _DRIFTING:
            _freshen(k - 12, text, effect, cells[k], number * _BLOCK_ROWS)
        if effect is not None:
            logit += effect
        texts.append(text.tolist())
    probability = 1 / (1 + np.exp(-logit))
    label = (chance < probability).astype(np.uint8)
    labels = np.array([b"0", b"1"], object)[label].tolist()
    return Block(list(map(b"\t".join, zip(labels, *texts, strict=True))), probability, label)


def _freshen(j: int, text: np.ndarray, effect: np.ndarray | None, cells: np.ndarray, first_row: int) -> None:
    """Puts ids of the time, and their effects, into the cells of the last eighth of the table of C<j>, in place."""
    rows_in_block = np.flatnonzero(cells >= _FRESH_FROM)
    # The quantile of an age in ids with P(age > a) = 8 / (8 + a): most uses are early, a few come long after.
    quantile = (cells[rows_in_block] - _FRESH_FROM + 0.5) / (_SIZE - _FRESH_FROM)
    age = (8 / quantile - 8).astype(np.int64)
    born = np.maximum((first_row + rows_in_block) // _ROWS_PER_NEW_ID - age, 0)
    numbers = born + _SIZE
    text[rows_in_block] = _ids(j, numbers)
    if effect is not None:
        effect[rows_in_block] = _CATEGORY_WEIGHTS[j] * _values_of_ids(j)[numbers % _SIZE]


@functools.cache
def _columns() -> list[_Column]:
    return [_integer_column(i) for i in range(1, 14)] + [_category_column(j) for j in range(1, 27)]


def _integer_column(i: int) -> _Column:
    missing, quantiles = _INTEGERS[i - 1]
    num_missing = round(missing * _SIZE)
    level = (np.arange(_SIZE - num_missing) + 0.5) / (_SIZE - num_missing)
    # Interpolated on a log scale; the shift keeps I2, which reaches down to -3, above -1.
    log = np.interp(level, _LEVELS, np.log1p(np.array(quantiles) + 3.0))
    whole = np.rint(np.expm1(log) - 3.0).astype(np.int64)
    text = np.concatenate([np.full(num_missing, b"", object), _shared(whole, lambda values: [b"%d" % v for v in values])])
    if i not in _INTEGER_WEIGHTS:
        return _Column(text, None)
    standardised = (log - log.mean()) / log.std()
    return _Column(text, np.concatenate([np.zeros(num_missing), _INTEGER_WEIGHTS[i] * standardised]))


def _category_column(j: int) -> _Column:
    ranks = _ranks(j)
    present = ranks >= 0
    text = np.full(_SIZE, b"", object)
    text[present] = _shared(ranks[present], lambda numbers: _ids(j, numbers))
    if j not in _CATEGORY_WEIGHTS:
        return _Column(text, None)
    return _Column(text, np.where(present, _CATEGORY_WEIGHTS[j] * _values_of_ids(j)[ranks], 0.0))


def _ranks(j: int) -> np.ndarray:
    """int64 [65536]: the rank of the id in each entry of the table of C<j>, 0 the most popular; -1: missing."""
    missing, num_ids, s = _CATEGORIES[j - 1]
    num_missing = round(missing * _SIZE)
    level = (np.arange(_SIZE - num_missing) + 0.5) / (_SIZE - num_missing)
    # The inverse of the distribution function of a power law cut off at num_ids.
    power = 1 - s
    rank = (1 + level * ((num_ids + 1) ** power - 1)) ** (1 / power)
    ranks = np.minimum(rank.astype(np.int64), num_ids) - 1
    # In a drifting column the entries that _freshen replaces are drawn from all ranks, not from the rarest.
    ranks = np.random.RandomState(j).permutation(ranks) if j in _DRIFTING else ranks
    return np.concatenate([np.full(num_missing, -1, np.int64), ranks])


def _shared(values: np.ndarray, make: Callable[[np.ndarray], Sequence[bytes]]) -> np.ndarray:
    """object [k]: the texts of the values, equal ones as one object: reading 65,536 of them misses the cache each time."""
    distinct, which = np.unique(values, return_inverse=True)
    return np.array(make(distinct), object)[which]


def _ids(j: int, numbers: np.ndarray) -> list[bytes]:
    """The numbers, below 2**27, as ids of 8 hex digits; each column has a set of its own."""
    mixed = (np.uint64(j) << np.uint64(27)) + numbers.astype(np.uint64) % np.uint64(1 << 27)
    # Each step permutes the 32-bit numbers, so two ids never meet.
    for _ in range(2):
        mixed ^= mixed >> np.uint64(15)
        mixed = (mixed * np.uint64(0x2C1B3C6D)) & np.uint64(0xFFFFFFFF)
    return [b"%08x" % v for v in mixed.tolist()]


@functools.cache
def _values_of_ids(j: int) -> np.ndarray:
    """float64 [65536]: a standard normal value for each id of C<j>, the world's and not the seed's."""
    return np.random.RandomState(1000 + j).standard_normal(_SIZE)


class _Renewed:
    """The texts of C<j> while its ids are renewed: what an id adds to the logit stays with its place.

    Attributes:
      number: j.
    """

    def __init__(self, j: int, text: np.ndarray, lifetime: int):
        self.number, self._text, self._lifetime = j, text.copy(), lifetime
        self._ranks = _ranks(j)
        # Not all at once: the id of a rank is renewed at a time of its own.
        self._phase = np.random.RandomState(2000 + j).randint(0, lifetime, _SIZE)[self._ranks]
        self._generation = np.zeros(_SIZE, np.int64)

    def at(self, row: int) -> np.ndarray:
        """object [65536]: the texts from this row on, which is a block's first."""
        generation = np.where(self._ranks < 0, 0, (row + self._phase) // self._lifetime)
        changed = np.flatnonzero(generation != self._generation)
        numbers = np.where(
            generation == 0, self._ranks, _FIRST_RENEWED + (generation * _SIZE + self._ranks) % (_FIRST_RENEWED - _SIZE)
        )
        if len(changed):
            self._text = self._text.copy()  # a block before may still be read
            self._text[changed] = _shared(numbers[changed], lambda distinct: _ids(self.number, distinct))
            self._generation = generation
        return self._text


def _cross_effects() -> tuple[np.ndarray, np.ndarray]:
    left, right, weight = _CROSS
    return weight * _values_of_ids(100 + left)[_ranks(left)], _values_of_ids(100 + right)[_ranks(right)]


def main(argv: list[str]) -> int:
    """Writes rows to a file or to stdout, and the summary to stderr; returns the exit status."""
    from synthetic_streams import STREAMS

    parser = Parser(prog="synthetic.py", description="Rows with a planted signal.")
    parser.add_argument("--data", choices=("criteo", *STREAMS), default="criteo", help="whose columns (default criteo)")
    parser.add_argument("--rows", type=at_least(2), required=True, help="how many")
    parser.add_argument("--seed", type=at_least(0), default=1, help="another seed: other rows of the same world")
    parser.add_argument(
        "--id_lifetime", type=at_least(0), default=0, metavar="ROWS", help="renew ids after so many rows (0: never)"
    )
    parser.add_argument("--output", default="-", help="a file, compressed if it ends in .gz; -: stdout")
    args = parser.parse_args(argv)
    if args.id_lifetime and args.data != "criteo":
        parser.error("--id_lifetime is for --data=criteo")
    probabilities = []
    try:
        with _open(args.output) as out:
            of_criteo = functools.partial(rows, lifetime=args.id_lifetime)
            for block in (STREAMS[args.data].rows if args.data in STREAMS else of_criteo)(args.rows, args.seed):
                out.write(b"\n".join(block.lines) + b"\n")
                probabilities.append(block.probability)
    except BrokenPipeError:
        raise
    except OSError as e:
        raise UserError(f"--output={args.output} cannot be written ({e.strerror}). Choose another.", Exit.NO_INPUT) from e
    print(summary(np.concatenate(probabilities)), file=sys.stderr)
    return Exit.OK


def _open(path: str):
    if path == "-":
        return open(sys.stdout.fileno(), "wb", closefd=False)
    # No time stamp: the same rows give the same file.
    return gzip.GzipFile(path, "wb", compresslevel=6, mtime=0) if path.endswith(".gz") else open(path, "wb")


if __name__ == "__main__":
    run(main)
