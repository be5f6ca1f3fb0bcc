"""The SQL of process_data, one text for DuckDB and Spark, and the dictionaries made of what it finds.

An engine counts in two steps: COUNT makes `chunk_counts` of lines, _ADD_UP makes `counts` of it. Their rows are (column_index,
value, num_rows), '' being a missing value. A line that is no row is counted there too, its reason as the value of a column behind
the last one. `columns` tells what the dictionaries hold of each column (kinds.dictionary_of). An Engine runs the rest.
"""

import collections
import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Protocol

from tfonline.features.dictionaries import Dictionaries
from tfonline.features.kinds import dictionary_of
from tfonline.features.schema import Schema
from tfonline.formats.patterns import reason_patterns, row_pattern

# One pass over the whole line checks all its fields; only a good row is split. The reason of a line that is none has no tab, so
# it stays one field.
_COUNT = """
    SELECT CASE WHEN reason = '' THEN field_index ELSE {num_columns} END AS column_index, value, count(*) AS num_rows
    FROM (SELECT reason, {numbered}
          FROM (SELECT reason, split(CASE WHEN reason = '' THEN line ELSE reason END, chr(9)) AS fields
                FROM (SELECT line, CASE {sorted_out} WHEN {good} THEN '' {reasons} ELSE '{last}' END AS reason
                      FROM {lines}) AS checked) AS rows_and_reasons) AS cells
    WHERE reason <> '' OR field_index NOT IN ({uncounted})
    GROUP BY 1, 2"""
_ADD_UP = """
    SELECT column_index, value, CAST(sum(num_rows) AS BIGINT) AS num_rows FROM ({each}) AS each_value GROUP BY 1, 2"""
_EACH = """
    SELECT column_index, {value} AS value, num_rows FROM chunk_counts"""
# The values of a list are counted one by one; a list without any is a missing one.
_NOT_LISTS = """
    SELECT * FROM ({each}) AS in_lists WHERE value = '' OR column_index NOT IN ({lists})"""
_OF_LIST = """
    SELECT * FROM (SELECT column_index, {exploded} AS value, num_rows FROM ({each}) AS in_lists
                   WHERE value <> '' AND column_index = {list}) AS exploded WHERE value <> ''"""
_QUOTE = "'"
_REASONS = """
    SELECT value, num_rows FROM counts WHERE column_index = {num_columns}"""
_GOOD = """
    SELECT CAST(coalesce(sum(num_rows), 0) AS BIGINT) FROM counts WHERE column_index = {label}"""
_COLUMNS = """
    SELECT column_index,
      count(CASE WHEN value <> '' THEN 1 END) AS num_values,
      count(CASE WHEN value <> '' AND num_rows >= {min_count} THEN 1 END) AS num_kept,
      CAST(sum(CASE WHEN value <> '' AND num_rows >= {min_count} THEN num_rows ELSE 0 END) AS BIGINT) AS kept_rows,
      CAST(sum(CASE WHEN value = '' THEN num_rows ELSE 0 END) AS BIGINT) AS missing_rows
    FROM counts JOIN columns USING (column_index) GROUP BY column_index ORDER BY column_index"""
_RANGES = """
    SELECT column_index, least(0, min(CAST(value AS BIGINT))), greatest(0, max(CAST(value AS BIGINT)))
    FROM counts JOIN columns USING (column_index) WHERE dictionary = 'range' AND value <> '' GROUP BY column_index"""
# A boundary is the value that holds the last of each {column.buckets}-th part of a column's values, or of several such parts.
_QUANTILES = """
    SELECT column_index, number FROM (
      SELECT column_index, number, num_rows, num_buckets,
        sum(num_rows) OVER (PARTITION BY column_index ORDER BY number) AS upto,
        sum(num_rows) OVER (PARTITION BY column_index) AS total
      FROM (SELECT column_index, num_buckets, CAST(value AS DOUBLE) AS number, CAST(sum(num_rows) AS BIGINT) AS num_rows
            FROM counts JOIN columns USING (column_index) WHERE dictionary = 'quantiles' AND value <> ''
            GROUP BY 1, 2, 3) AS numbers) AS in_order
    WHERE floor(upto * num_buckets / total) > floor((upto - num_rows) * num_buckets / total) ORDER BY column_index, number"""
_KEPT = """
    SELECT column_index, value FROM counts JOIN columns USING (column_index)
    WHERE dictionary = 'values' AND value <> '' AND num_rows >= {min_count}
    ORDER BY column_index, num_rows DESC, value"""


@dataclasses.dataclass(frozen=True)
class Dialect:
    """All in which the SQL of two engines differs.

    Attributes:
      full_match: whether `line` as a whole is {pattern}.
      numbered: a row for each of `fields`, as the columns field_index, from 0, and value.
      exploded: a row for each text in `value` between the characters of number {code}.
      sorted_out: WHEN ... THEN ... for lines that are no rows whatever their columns, where the engine is given such lines.
    """

    full_match: str
    numbered: str
    exploded: str
    sorted_out: str = ""


class Engine(Protocol):
    """What runs the SQL. Made by open_engine of process_data_duckdb or process_data_spark.

    Attributes:
      version: of the engine.
      dialect: of its SQL.
    """

    version: str
    dialect: Dialect

    def keep(self, name: str, select: str) -> None:
        """Keeps what the SELECT gives as a table of that name."""

    def rows(self, select: str) -> Iterator[tuple]:
        """What the SELECT gives, in its order."""

    def count(self, files: list[str], schema: Schema, head_rows: int) -> None:
        """Makes the table `chunk_counts` of the first `head_rows` rows of the files, in order, or of all for 0.

        Raises UserError for a file that cannot be read (exit 66), is damaged or has no lines (65).
        """


def count_sql(schema: Schema, dialect: Dialect, lines: str) -> str:
    """The SELECT that counts the values of `lines`, a table whose rows are (line)."""
    columns = schema.columns

    def fits(pattern: str) -> str:
        return dialect.full_match.format(pattern=pattern)

    # The label's are counted, for they are as many as there are good rows.
    uncounted = [-1, *(i for i, column in enumerate(columns) if column.kind != "label" and not dictionary_of(column))]
    *reasons, (last, _) = reason_patterns(columns)  # one of them applies
    return _COUNT.format(
        num_columns=len(columns), uncounted=", ".join(map(str, uncounted)),
        numbered=dialect.numbered, sorted_out=dialect.sorted_out, lines=lines,
        good=fits(row_pattern(columns)), last=last,
        reasons=" ".join(f"WHEN NOT {fits(pattern)} THEN '{name}'" for name, pattern in reasons),
    )  # fmt: skip


def add_up(engine: Engine, schema: Schema) -> tuple[int, collections.Counter[str]]:
    """Makes the tables `columns` and `counts`; returns the number of good rows, and the other lines by reason."""
    values = ", ".join(f"({i}, '{dictionary_of(c)}', {getattr(c, 'buckets', 0)})" for i, c in enumerate(schema.columns))
    engine.keep("columns", f"SELECT * FROM (VALUES {values}) AS c(column_index, dictionary, num_buckets)")
    # A missing value is counted as what stands for it.
    cases = [
        f"WHEN column_index = {i} AND value = '' THEN '{column.default_text.replace(_QUOTE, 2 * _QUOTE)}'"
        for i, column in enumerate(schema.columns)
        if column.default_text
    ]
    each = _EACH.format(value=f"CASE {' '.join(cases)} ELSE value END" if cases else "value")
    if lists := {i: c.separator for i, c in enumerate(schema.columns) if c.kind == "categories"}:
        parts = [_NOT_LISTS.format(each=each, lists=", ".join(map(str, lists)))]
        for i, separator in lists.items():
            parts.append(_OF_LIST.format(each=each, list=i, exploded=engine.dialect.exploded.format(code=ord(separator))))
        each = " UNION ALL ".join(parts)
    engine.keep("counts", _ADD_UP.format(each=each))
    ((good,),) = engine.rows(_GOOD.format(label=schema.names.index(schema.label)))
    return good, collections.Counter(dict(engine.rows(_REASONS.format(num_columns=len(schema.columns)))))


def make_dictionaries(engine: Engine, schema: Schema, min_count: int) -> Dictionaries:
    """The dictionaries from the table `counts`: ranges that hold 0, values seen at least `min_count` times."""
    minimum, maximum = dict.fromkeys(schema.ranged, 0), dict.fromkeys(schema.ranged, 0)
    for column, low, high in engine.rows(_RANGES):
        minimum[schema.names[column]], maximum[schema.names[column]] = low, high
    cat2id = {key: i for i, key in enumerate([*schema.ranged, *(f"OOV{c}" for c in schema.listed)])}
    prefixes = [f"{name}_" for name in schema.names]
    with contextlib.closing(engine.rows(_KEPT.format(min_count=min_count))) as kept:
        for column, value in kept:
            cat2id[prefixes[column] + value] = len(cat2id)
    boundaries: dict[str, list[float]] = {c.name: [] for c in schema.columns if dictionary_of(c) == "quantiles"}
    for column, number in engine.rows(_QUANTILES):
        boundaries[schema.names[column]].append(number)
    return Dictionaries(maximum, minimum, cat2id, {name: tuple(of_column) for name, of_column in boundaries.items()})


def describe_columns(engine: Engine, schema: Schema, dictionaries: Dictionaries, min_count: int, good: int) -> dict:
    """What the table `counts` says of each column. Shares are of the good rows, `covered` of those with a value."""
    categories, integers, numbers = {}, {}, {}
    for column, num_values, num_kept, kept_rows, missing_rows in engine.rows(_COLUMNS.format(min_count=min_count)):
        name, held = schema.names[column], dictionary_of(schema.columns[column])
        missing = round(missing_rows / good, 6)
        if held == "range":
            integers[name] = {"min": dictionaries.min[name], "max": dictionaries.max[name], "missing": missing}
        elif held == "quantiles":
            boundaries = dictionaries.boundaries[name]
            numbers[name] = {"buckets": len(boundaries) + 1, "median": median_of(boundaries), "missing": missing}
        elif held == "values":
            covered = round(kept_rows / max(good - missing_rows, 1), 6)
            categories[name] = {"values": num_values, "kept": num_kept, "covered": covered, "missing": missing}
    return {"integers": integers, "categories": categories} | ({"numbers": numbers} if numbers else {})


def median_of(boundaries: Sequence[float]) -> float | None:
    """About the median, of boundaries between as many values each; None where there is no value."""
    return boundaries[(len(boundaries) - 1) // 2] if boundaries else None
