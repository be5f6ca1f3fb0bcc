"""Made rows of two streams that are not Criteo's, with a planted signal whose best possible score is known.

`avazu`: the columns of the public data set of that name (mobile advertising): ids, and an hour as year, month, day and hour in two
digits each. None of its rows is used. `feed`: what a shop's feed may look like: nested objects, a list of the last items, a price,
a time in milliseconds, and two labels, of which one is learned.

Rows are TSV in the order of the YAML of columns; produce.py makes messages of them. The seed changes the draw, never the world.
"""

import datetime
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from synthetic import Block

_BLOCK_ROWS = 8192
_FIRST_HOUR = datetime.datetime(2014, 10, 21, tzinfo=datetime.UTC)
_ROWS_AN_HOUR = 2000

# The number of ids, s where the id of rank r has popularity ~ r**-s (s is not 1), and the weight of a normal value per id.
_AVAZU = {
    "C1": (7, 2.5, 0.0), "banner_pos": (7, 2.0, 0.4), "site_id": (2600, 1.2, 0.5), "site_domain": (3000, 1.2, 0.0),
    "site_category": (22, 1.6, 0.3), "app_id": (3100, 1.3, 0.5), "app_domain": (200, 1.8, 0.0), "app_category": (28, 1.7, 0.3),
    "device_id": (150_000, 1.4, 0.0), "device_ip": (400_000, 0.8, 0.0), "device_model": (5400, 0.9, 0.4),
    "device_type": (5, 2.5, 0.0), "device_conn_type": (4, 2.2, 0.3), "C14": (2250, 0.8, 0.6), "C15": (8, 2.5, 0.0),
    "C16": (9, 2.5, 0.2), "C17": (420, 0.9, 0.5), "C18": (4, 0.5, 0.3), "C19": (66, 1.1, 0.0), "C20": (160, 1.3, 0.2),
    "C21": (60, 0.9, 0.3),
}  # fmt: skip
_AVAZU_BIAS, _OF_DAY = -1.2, 0.3
# A pair of columns whose ids together add something: a normal value of each pair.
_PAIR, _PAIR_WEIGHT = ("banner_pos", "site_category"), 0.4

_USERS, _ITEMS, _GROUPS, _CATEGORIES = 8000, 3000, 12, 40
_LONGEST = 8  # list of last items
_DEVICES = (b"phone", b"tablet", b"desktop")
_FEED_BIAS, _BUYS = -1.6, 0.2


class Stream(NamedTuple):
    """A made stream.

    Attributes:
      columns: the name of its YAML of columns, in configs/.
      rows: of (number of rows, seed, first row) makes blocks of at most 8,192 rows. Row i hangs on the seed and on i alone.
    """

    columns: str
    rows: Callable[[int, int, int], Iterator[Block]]


def _blocks(make: Callable[[np.random.RandomState, int], tuple[list[bytes], np.ndarray, np.ndarray]]) -> Callable:
    """`Stream.rows` of what makes a block's lines, probabilities and labels, by a source of randomness and its first row."""

    def rows(n: int, seed: int = 1, start: int = 0) -> Iterator[Block]:
        first = start
        while first < start + n:
            number, skip = divmod(first, _BLOCK_ROWS)
            # The draws of RandomState are the same in every version of numpy.
            lines, probability, label = make(np.random.RandomState([seed, number]), number * _BLOCK_ROWS)
            keep = slice(skip, min(_BLOCK_ROWS, skip + start + n - first))
            yield Block(lines[keep], probability[keep], label[keep])
            first += keep.stop - skip

    return rows


def _ranks(level: np.ndarray, num_ids: int, s: float) -> np.ndarray:
    """Levels from 0 to 1 to ranks from 0, by the inverse of the distribution function of a power law cut off at num_ids."""
    rank = (1 + level * ((num_ids + 1) ** (1 - s) - 1)) ** (1 / (1 - s))
    return np.minimum(rank.astype(np.int64), num_ids) - 1


def _world(name: str, size: int) -> np.ndarray:
    """float64 [size]: a standard normal value for each id of a column, the same for every seed."""
    return np.random.RandomState(list(name.encode())).standard_normal(size)


def _chances(r: np.random.RandomState, logit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits to probabilities and labels."""
    probability = 1 / (1 + np.exp(-logit))
    return probability, (r.random_sample(len(logit)) < probability).astype(np.uint8)


def _joined(columns: Sequence[Sequence[bytes]]) -> list[bytes]:
    return list(map(b"\t".join, zip(*columns, strict=True)))


def _avazu(r: np.random.RandomState, first: int) -> tuple[list[bytes], np.ndarray, np.ndarray]:
    hours = (first + np.arange(_BLOCK_ROWS)) // _ROWS_AN_HOUR
    logit = _AVAZU_BIAS + _OF_DAY * np.sin(2 * math.pi * (hours % 24) / 24)
    ranks = {name: _ranks(r.random_sample(_BLOCK_ROWS), num_ids, s) for name, (num_ids, s, _) in _AVAZU.items()}
    for name, (num_ids, _, weight) in _AVAZU.items():
        if weight:
            logit = logit + weight * _world(name, num_ids)[ranks[name]]
    left, right = (ranks[name] for name in _PAIR)
    logit += _PAIR_WEIGHT * _world("pair", 1000)[left * _AVAZU[_PAIR[1]][0] + right]
    probability, label = _chances(r, logit)
    texts = [[b"%d" % (10**12 + first + i) for i in range(_BLOCK_ROWS)], [b"%d" % y for y in label.tolist()]]
    texts.append([(_FIRST_HOUR + datetime.timedelta(hours=h)).strftime("%y%m%d%H").encode() for h in hours.tolist()])
    for name, of_rows in ranks.items():
        # Those named C and a number are whole numbers, the others hexadecimal.
        salt = 7919 * len(name) + ord(name[-1])
        form = b"%d" if name.startswith("C") or name in ("banner_pos", "device_type", "device_conn_type") else b"%08x"
        texts.append([form % v for v in (of_rows if form == b"%d" else (of_rows + salt) * 2654435761 % 2**32).tolist()])
    return _joined(texts), probability, label


def _feed(r: np.random.RandomState, first: int) -> tuple[list[bytes], np.ndarray, np.ndarray]:
    n = _BLOCK_ROWS
    user, item = _ranks(r.random_sample(n), _USERS, 0.7), _ranks(r.random_sample(n), _ITEMS, 0.9)
    lengths = np.minimum(r.poisson(3, n), _LONGEST)
    # What a user looked at last is mostly of the user's own group of items, and so says what else is liked.
    of_group = r.randint(0, _ITEMS // _GROUPS, (n, _LONGEST)) * _GROUPS + (user % _GROUPS)[:, None]
    last = np.where(r.random_sample((n, _LONGEST)) < 0.8, of_group, r.randint(0, _ITEMS, (n, _LONGEST)))
    held = np.arange(_LONGEST) < lengths[:, None]
    value = _world("item", _ITEMS)
    of_list = (value[last] * held).sum(axis=1) / np.maximum(lengths, 1)
    category = item % _CATEGORIES
    price = np.exp(2 + _world("price", _ITEMS)[item])
    device = r.randint(0, len(_DEVICES), n)
    moment = 1_760_000_000_000 + (first + np.arange(n)) * 700
    logit = _FEED_BIAS + 0.7 * value[item] + 0.9 * of_list + 1.2 * (item % _GROUPS == user % _GROUPS)
    logit += 0.4 * _world("category", _CATEGORIES)[category] - 0.3 * _world("price", _ITEMS)[item] + 0.3 * (device == 0)
    logit += 0.3 * np.sin(2 * math.pi * (moment // 3_600_000 % 24) / 24)
    probability, label = _chances(r, logit)
    buys = label * (r.random_sample(n) < _BUYS)
    texts = [
        [b"e%012d" % (first + i) for i in range(n)],
        *([b"%d" % y for y in ys.tolist()] for ys in (label, buys, moment)),
        [b"u%d" % u for u in user.tolist()],
        [_DEVICES[d] for d in device.tolist()],
        [b"i%d" % i for i in item.tolist()],
        [b"c%d" % c for c in category.tolist()],
        [b"%.2f" % p for p in price.tolist()],
        [b"|".join(b"i%d" % i for i in row[:k]) for row, k in zip(last.tolist(), lengths.tolist(), strict=True)],
    ]
    return _joined(texts), probability, label


STREAMS = {"avazu": Stream("avazu.yaml", _blocks(_avazu)), "feed": Stream("feed.yaml", _blocks(_feed))}
