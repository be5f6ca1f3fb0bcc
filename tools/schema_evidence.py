"""What a sample of rows says of each of its columns: counted by DuckDB, for tools/schema.py."""

import collections
import dataclasses
import datetime
import itertools
from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
from schema_sample import Sample, text_of

from tfonline.evaluate.progressive import exact_auc
from tfonline.features.kinds import texts_of
from tfonline.features.kinds.integer import IntegerColumn
from tfonline.features.kinds.number import NumberColumn
from tfonline.features.kinds.time import TimeColumn
from tfonline.formats.fields import NO_SCHEMA, Field

# By name: which texts are such values.
_PATTERNS = {
    "integer": texts_of(IntegerColumn(name="x")).pattern,
    "number": texts_of(NumberColumn(name="x")).pattern,
    "iso": texts_of(TimeColumn(name="x", unit="iso")).pattern,
    "yymmddhh": texts_of(TimeColumn(name="x", unit="yymmddhh")).pattern,
    "yyyymmdd": "(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])",
    "separated": r"[^|]+([|][^|]+)+",
}
_TOP = 5
# Both of two numbers in a row need so many rows for their ratio to mean something.
_PAIR_ROWS = 10
# A value's share of positives is drawn to the whole's as if so many rows of the whole stood beside it.
_PRIOR_ROWS = 10
# From so many values on, numbers are put together by their logarithm to a tenth: few values are seen twice.
_MANY_VALUES = 1000
# So many positives, and negatives, must lie in the half on which an AUC is tried: of fewer it says nothing.
_LEAST_OF_A_CLASS = 20
_PLACES_SHOWN = 3
_LIST_SHARE = 0.05  # of a column's texts have a bar inside: they may be lists
_TIMES_AGAIN = 3  # a list's value is seen, on average

_COLUMN = """
    SELECT count(v), count(DISTINCT v), {fits}, min(TRY_CAST(v AS DOUBLE)), max(TRY_CAST(v AS DOUBLE)),
      quantile_disc(TRY_CAST(v AS DOUBLE), 0.5), quantile_disc(TRY_CAST(v AS DOUBLE), 0.99), min(v), max(v) FROM cells"""
_TOP_VALUES = "SELECT v, count(*) AS n FROM cells WHERE v IS NOT NULL GROUP BY v ORDER BY n DESC, v LIMIT {top}"
_NEW = """
    SELECT count(*) FILTER (v NOT IN (SELECT v FROM cells WHERE row < {half} AND v IS NOT NULL)) / greatest(count(*), 1)
    FROM cells WHERE row >= {half} AND v IS NOT NULL"""
_RISING = """
    WITH steps AS (SELECT CAST(v AS DOUBLE) - lag(CAST(v AS DOUBLE)) OVER (ORDER BY row) AS step FROM cells)
    SELECT count(*) FILTER (step > 0) / greatest(count(*), 1) FROM steps WHERE step IS NOT NULL"""
_NEIGHBOURS = """
    WITH counts AS (SELECT CAST(v AS BIGINT) AS number, count(*) AS n FROM cells WHERE v IS NOT NULL GROUP BY 1)
    SELECT count(*), avg(abs(ln(b.n / a.n))), avg(CAST(b.n < a.n AS INT))
    FROM counts AS a JOIN counts AS b ON b.number = a.number + 1 WHERE a.n >= {least} AND b.n >= {least}"""
_KEYS = """
    SELECT row, CASE WHEN {by_logarithm} THEN CAST(round(sign(CAST(v AS DOUBLE)) * ln(1 + abs(CAST(v AS DOUBLE))), 1) AS VARCHAR)
      ELSE coalesce(v, '') END AS key FROM cells"""
_SCORES = """
    WITH keys AS ({keys}),
      known AS (SELECT key, y, row < {half} AS first FROM keys JOIN labels USING (row)),
      whole AS (SELECT avg(y) AS share FROM known WHERE first),
      fitted AS (SELECT key, sum(y) AS clicks, count(*) AS n FROM known WHERE first GROUP BY key)
    SELECT (coalesce(clicks, 0) + {prior} * share) / (coalesce(n, 0) + {prior}) AS score, y
    FROM known LEFT JOIN fitted USING (key), whole WHERE NOT first"""


@dataclasses.dataclass
class Evidence:
    """What is known of a column. Shares are of the rows that have a value, where nothing else is said.

    Attributes:
      key: as the messages have it.
      num_rows: of the sample.
      num_values: rows that have a value; of lists, their elements.
      missing: the share of rows without a value.
      distinct: different values.
      types: how many of the values are of which type of the messages', by its name.
      odd: of each type but the most frequent one the first rows, in words.
      fits: how many of the values are such, by the names of _PATTERNS.
      low, high: the least and the greatest number; None where no value is a number.
      median, tail: the numbers' median and 99th percentile.
      first, last: the least and the greatest text.
      top: the most frequent values and their rows.
      new: of the later half's values the share that the earlier half does not have.
      rising: of the steps from a number to the next row's, the share that goes up.
      neighbours: how many pairs of numbers n and n + 1 are both frequent.
      roughness: of those pairs the mean size of the logarithm of their counts' ratio: an amount's are alike, ids' are not.
      falling: the share of those pairs in which n + 1 is the less frequent one.
      lengths: of lists, or of texts between bars, the lengths' median, 99th percentile and maximum; () where there are none.
      is_list: whether most values are lists.
      holds_objects: whether a list holds lists or objects.
      times: whether the values have a type of moments.
      field: what the messages' schema says of it; without words where there is no schema.
      auc: how well the column alone tells the label; None where that was not looked at.
    """

    key: str
    num_rows: int
    num_values: int = 0
    missing: float = 1.0
    distinct: int = 0
    types: dict[str, int] = dataclasses.field(default_factory=dict)
    odd: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    fits: dict[str, int] = dataclasses.field(default_factory=dict)
    low: float | None = None
    high: float | None = None
    median: float | None = None
    tail: float | None = None
    first: str = ""
    last: str = ""
    top: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    new: float = 0.0
    rising: float = 0.0
    neighbours: int = 0
    roughness: float = 0.0
    falling: float = 0.0
    lengths: tuple[int, ...] = ()
    is_list: bool = False
    holds_objects: bool = False
    times: bool = False
    field: Field = NO_SCHEMA
    auc: float | None = None

    def all_fit(self, name: str) -> bool:
        """Whether all values are such; there is one at least."""
        return 0 < self.num_values == self.fits.get(name)


class Evidences:
    """Of the columns of a sample, each asked for by its key. Use it in a `with`.

    Args:
      sample: the rows.
    """

    def __init__(self, sample: Sample):
        self._sample, self._half = sample, sample.num_rows // 2
        self._con = duckdb.connect()
        self._con.execute("SET threads = 2")
        self._enough = False  # labels to try on

    def __enter__(self) -> "Evidences":
        return self

    def __exit__(self, *_: Any) -> None:
        self._con.close()

    def of(self, key: str) -> Evidence:
        """What the sample says of a column, but for its AUC."""
        values = self._sample.columns[key]
        found = Evidence(key, self._sample.num_rows, field=self._sample.fields.get(key, NO_SCHEMA))
        self._types(found, values)
        lists = [(row, value) for row, value in enumerate(values) if isinstance(value, list)]
        found.is_list = len(lists) * 2 > sum(value is not None for value in values)
        if found.is_list:
            found.missing = 1 - sum(bool(value) for _, value in lists) / max(found.num_rows, 1)
            found.holds_objects = any(isinstance(e, list | dict) for _, value in lists for e in value)
            found.lengths = _lengths([len(value) for _, value in lists])
            rows = [row for row, value in lists for _ in value]
            texts = [text_of(e) for _, value in lists for e in value]
        else:
            rows, texts = range(len(values)), [text_of(value) for value in values]
            found.missing = texts.count(None) / max(found.num_rows, 1)
        self._cells(rows, texts)
        self._count(found)
        if not found.is_list and found.fits["separated"] > _LIST_SHARE * found.num_values:
            self._try_as_lists(found, texts)
        return found

    def give_labels(self, labels: Sequence[int | None]) -> None:
        """Takes a row's label each, 0 or 1; None where it is not known."""
        later = collections.Counter(labels[self._half :])
        self._enough = min(later[0], later[1]) >= _LEAST_OF_A_CLASS
        known = [(row, label) for row, label in enumerate(labels) if label is not None]
        rows, y = np.array(known, np.int64).reshape(-1, 2).T
        self._con.register("labels", {"row": rows.copy(), "y": y.copy()})

    def auc(self, found: Evidence) -> float | None:
        """How well a column alone tells the label, on the later half of the rows by what the earlier half shows.

        A value is scored by its share of positives, drawn to that of all; that it is missing is a value, too. A list is known by
        its last element.

        Args:
          found: of the column.

        Returns:
          the area under the ROC curve; None where the later half has too few positives or negatives.
        """
        if not self._enough:
            return None
        values = self._sample.columns[found.key]
        self._cells(range(len(values)), [text_of(v[-1] if isinstance(v, list) and v else v) for v in values])
        by_logarithm = "v IS NOT NULL" if found.distinct >= _MANY_VALUES and found.all_fit("number") else "false"
        query = _SCORES.format(keys=_KEYS.format(by_logarithm=by_logarithm), half=self._half, prior=_PRIOR_ROWS)
        scored = self._con.execute(query).fetchnumpy()
        return exact_auc(np.asarray(scored["score"], np.float64), np.asarray(scored["y"], np.float32))

    def _try_as_lists(self, found: Evidence, texts: Sequence[str | None]) -> None:
        """Texts with bars inside are lists where what stands between the bars comes again and again; a title's words do not."""
        lists = [(row, text.split("|")) for row, text in enumerate(texts) if text is not None]
        elements = [element or None for _, of in lists for element in of]
        if len(set(elements)) * _TIMES_AGAIN < len(elements):
            found.lengths = _lengths([len(of) for _, of in lists])
            self._cells([row for row, of in lists for _ in of], elements)
            self._count(found)

    def _types(self, found: Evidence, values: Sequence[Any]) -> None:
        types = collections.Counter(map(type, values))
        types.pop(type(None), None)
        found.types = dict.fromkeys(map(_name_of_type, dict(types.most_common())), 0)
        for of_python, number in types.items():
            found.types[_name_of_type(of_python)] += number
        for name in list(found.types)[1:]:
            rows = (row for row, value in enumerate(values) if value is not None and _name_of_type(type(value)) == name)
            found.odd[name] = [self._sample.places[row] for row in itertools.islice(rows, _PLACES_SHOWN)]
        found.times = "moment" in found.types

    def _count(self, found: Evidence) -> None:
        fits = ", ".join(f"count(*) FILTER (regexp_full_match(v, '{pattern}'))" for pattern in _PATTERNS.values())
        found.num_values, found.distinct, *rest = self._one(_COLUMN.format(fits=fits))
        found.fits = dict(zip(_PATTERNS, rest, strict=False))
        found.low, found.high, found.median, found.tail, first, last = rest[len(_PATTERNS) :]
        found.first, found.last = first or "", last or ""
        found.top = self._con.execute(_TOP_VALUES.format(top=_TOP)).fetchall()
        (found.new,) = self._one(_NEW.format(half=self._half))
        if found.all_fit("number"):
            (found.rising,) = self._one(_RISING)
        if found.all_fit("integer"):
            pairs, roughness, falling = self._one(_NEIGHBOURS.format(least=_PAIR_ROWS))
            found.neighbours, found.roughness, found.falling = pairs, roughness or 0.0, falling or 0.0

    def _one(self, query: str) -> tuple:
        # All of a result, or DuckDB refuses the connection's next query.
        [row] = self._con.execute(query).fetchall()
        return row

    def _cells(self, rows: Sequence[int], texts: Sequence[str | None]) -> None:
        """Makes the table `cells` (row, v): of a column, or of the elements of its lists."""
        self._con.register("given", {"row": np.array(rows, np.int64), "v": np.array(texts, object)})
        # Where all values are missing, DuckDB would take the column for one of numbers.
        self._con.execute("CREATE OR REPLACE TEMP TABLE cells AS SELECT row, CAST(v AS VARCHAR) AS v FROM given")
        self._con.unregister("given")


def _name_of_type(of_python: type) -> str:
    names = {bool: "truth value", str: "text", list: "list", dict: "object", datetime.datetime: "moment", datetime.date: "moment"}
    return names.get(of_python, "number")


def _lengths(lengths: Sequence[int]) -> tuple[int, ...]:
    """The median, the 99th percentile and the greatest, as lengths that there are."""
    return tuple(int(n) for n in np.percentile(lengths, [50, 99, 100], method="higher")) if lengths else ()
