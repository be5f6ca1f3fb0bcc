"""Rows of Parquet files, by DuckDB: the columns by name, as the texts that messages have. Imports no TensorFlow."""

import glob
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfonline.formats import find
from tfonline.formats.header import refused
from tfonline.lifecycle import Exit, UserError

if TYPE_CHECKING:
    from tfonline.features.column import Column

MAGIC = b"PAR1"
_WHOLE = {"tinyint", "smallint", "integer", "bigint", "hugeint", "utinyint", "usmallint", "uinteger", "ubigint", "uhugeint"}
_FLOATS = {"float", "double"}
_MOMENTS = {"timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns", "timestamp with time zone", "date"}
_TEXTS = {"varchar", "enum", "uuid", "decimal", *_WHOLE, *_FLOATS, *_MOMENTS, "boolean", "time"}
# By the kind of a column: the types whose values it may take. Texts are looked at row by row, as those of messages are.
_TAKEN = {
    "integer": {"varchar", "decimal", *_WHOLE, *_FLOATS},
    "number": {"varchar", "decimal", *_WHOLE, *_FLOATS},
    "time": {"varchar", *_WHOLE, *_FLOATS, *_MOMENTS},
    "weight": {"varchar", "decimal", *_WHOLE, *_FLOATS},
    "label": {"varchar", "enum", "boolean", *_WHOLE, *_FLOATS},
}
_OF_MOMENT = {
    "s": "CAST(floor(epoch_us({}) / 1e6) AS BIGINT)",
    "ms": "CAST(floor(epoch_us({}) / 1e3) AS BIGINT)",
    "us": "epoch_us({})",
    "iso": "strftime(make_timestamp(epoch_us({})), '%Y-%m-%dT%H:%M:%S.%fZ')",
    "yymmddhh": "strftime(make_timestamp(epoch_us({})), '%y%m%d%H')",
}
_LARGEST = 2**53  # from here on a float has no longer every whole number


class ParquetRows:
    """The rows of a file from one on, as messages. Close it.

    Args:
      path: the file.
      columns: of the messages, in order.
      message_format: the name of theirs.
      start: the first row that is wanted, counted from 0.

    Attributes:
      num_rows: of the file.

    Raises:
      UserError: the file is no whole Parquet file, or lacks a column, or has one of a type that its kind does not take (exit 65).
    """

    def __init__(self, path: str, columns: "Sequence[Column]", message_format: str, start: int = 0):
        import duckdb

        self._path, self._columns, self._message_format = path, columns, message_format
        self._encode = None if message_format == "tsv" else find(message_format).encode
        # One thread: the trainer has work for the others, and rows come in their order.
        self._con = duckdb.connect(config={"threads": 1})
        self._failures = duckdb.Error
        # To DuckDB a name is a pattern.
        self._of_file = glob.escape(path)
        try:
            [(self.num_rows,)] = self._con.execute("SELECT num_rows FROM parquet_file_metadata(?)", [self._of_file]).fetchall()
            self._rows = self._con.execute(self._query(), [self._of_file, start])
        except duckdb.Error as e:
            self.close()
            raise self._damaged(e) from e
        except UserError:
            self.close()
            raise

    def take(self, most: int) -> list[bytes]:
        """The next rows, so many at most; [] at the end.

        Raises:
          UserError: the file is cut or damaged (exit 65).
        """
        try:
            rows = [row.encode() for (row,) in self._rows.fetchmany(most)]
        except self._failures as e:
            raise self._damaged(e) from e
        return rows if self._encode is None else [self._message(row) for row in rows]

    def close(self) -> None:
        """Closes the file."""
        self._con.close()

    def _message(self, row: bytes) -> bytes:
        fields = row.decode().split("\t")
        try:
            if len(fields) == len(self._columns):
                return self._encode(fields, self._columns)
        except ValueError:
            pass
        return refused(row, self._columns, self._message_format)

    def _query(self) -> str:
        described = self._con.execute("SELECT * FROM read_parquet(?) LIMIT 0", [self._of_file]).description
        types = {name: of_type for name, of_type, *_ in described}
        fields = ", ".join(f"coalesce({self._text(column, types)}, '')" for column in self._columns)
        return f"SELECT concat_ws(chr(9), {fields}) FROM read_parquet(?, file_row_number = true) WHERE file_row_number >= ?"

    def _text(self, column: "Column", types: dict[str, Any]) -> str:
        """SQL: a column's text; NULL where it is missing."""
        expression, of_type = self._find(column, types)
        named = of_type.id
        if named == "list" and column.kind == "categories" and dict(of_type.children)["child"].id in _TEXTS:
            # A value with the separator inside would become two: a tab makes its row alone a bad one.
            values = f"[CAST(e AS VARCHAR) FOR e IN {expression} IF CAST(e AS VARCHAR) <> '']"
            joined, whole = (f"array_to_string({values}, {_text(between)})" for between in (column.separator, ""))
            return f"CASE WHEN contains({whole}, {_text(column.separator)}) THEN chr(9) ELSE {joined} END"
        taken = _TAKEN.get(column.kind, _TEXTS)
        if named not in taken:
            advice = (
                " Write it as text." if named == "blob" else " Give the column another kind, or write the file with another type."
            )
            raise UserError(
                f"{self._path}: {column.key} is of type {of_type}, which no column of kind {column.kind} takes; "
                f"expected is one of {', '.join(sorted(taken))}.{advice}",
                Exit.DATA,
            )
        if named in _MOMENTS:
            moment = f"CAST({expression} AS TIMESTAMP)" if named in ("date", "timestamp_ns") else expression
            return f"CAST({_OF_MOMENT[getattr(column, 'unit', 'iso')].format(moment)} AS VARCHAR)"
        if named in _FLOATS:
            # What is no number is a missing value. A whole one is written as such: integers that may be missing are often floats.
            whole = f"{expression} = floor({expression}) AND abs({expression}) < {_LARGEST}"
            as_whole = f"WHEN {whole} THEN CAST(TRY_CAST({expression} AS BIGINT) AS VARCHAR)"
            return f"CASE WHEN isnan({expression}) THEN NULL {as_whole} ELSE CAST({expression} AS VARCHAR) END"
        return f"CAST({expression} AS VARCHAR)"

    def _find(self, column: "Column", types: dict[str, Any]) -> tuple[str, Any]:
        """SQL for a column's values, and their type: by its whole path, or by its parts, one inside the other."""
        path = column.key
        if path in types:
            return _quoted(path), types[path]
        first, *rest = path.split(".")
        expression, of_type = _quoted(first), types.get(first)
        for name in rest:
            inside = dict(of_type.children) if of_type is not None and of_type.id == "struct" else {}
            expression, of_type = f"struct_extract({expression}, {_text(name)})", inside.get(name)
        if of_type is None:
            raise UserError(
                f"{self._path} has no column {path}; it has {', '.join(types)}. Mend the file, or give the column's name there as "
                "its `path` in --columns.",
                Exit.DATA,
            )
        return expression, of_type

    def _damaged(self, error: Exception) -> UserError:
        return UserError(f"{self._path} is no whole Parquet file: {error}. Fetch it again, or leave it out.", Exit.DATA)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
