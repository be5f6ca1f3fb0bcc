"""Builds the dictionaries that the trainer needs (three pickles) from rows in TSV files, with DuckDB.

    python tools/process_data.py data/day_*.gz --output_dir=dictionaries

The files go through in chunks. DuckDB counts the values of every column of a chunk; only these counts are kept, on disk where
they outgrow memory, and added up at the end, so the data may be far larger than memory. A row counts exactly when the trainer
would accept it: the right number of fields, a label of 0 or 1, numbers of at most 18 digits, valid UTF-8, no carriage return. A
row that it would refuse counts nowhere and is reported by reason. Empty lines are skipped and counted.

Ids depend on the rows alone, not on the order of files or the number of threads: integer columns, then one OOV id a category
column, then the kept values by column, falling count, and bytes of the value.
"""

import argparse
import collections
import concurrent.futures
import glob
import gzip
import json
import os
import pathlib
import re
import signal
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from math import inf

import duckdb
import tqdm
from duckdb import DuckDBPyConnection as Connection

from tfonline.features.dictionaries import Dictionaries, save_dictionaries
from tfonline.features.schema import Schema, load_schema
from tfonline.lifecycle import Exit, UserError

BLOCK_BYTES = 1 << 20  # read at once, up to the end of a line; a longer line is no row (Kafka takes 1 MB by default)
CHUNK_BYTES = 64 << 20  # counted at once; two chunks stand in --temp_dir at any time
_SCAN_BYTES = 16 << 20  # of a chunk, by one thread of DuckDB

# What a field may hold, as a regular expression of RE2; the trainer has the same rules (tfonline/features/parse.py).
_FIELDS = {"label": "[01]", "integer": "(?:-?[0-9]{1,18})?", "category": r"[^\t]*"}

# From here on plain SQL, for DuckDB and Spark alike: `counts` has a row for each (column, value), '' being a missing value, and
# `columns` tells their kinds.
_ADD_UP = """
    CREATE TABLE counts AS SELECT column_index, value, CAST(sum(num_rows) AS BIGINT) AS num_rows
    FROM chunk_counts GROUP BY column_index, value"""
_COLUMNS = """
    SELECT column_index,
      count(CASE WHEN value <> '' THEN 1 END) AS num_values,
      count(CASE WHEN value <> '' AND num_rows >= {min_count} THEN 1 END) AS num_kept,
      CAST(sum(CASE WHEN value <> '' AND num_rows >= {min_count} THEN num_rows ELSE 0 END) AS BIGINT) AS kept_rows,
      CAST(sum(CASE WHEN value = '' THEN num_rows ELSE 0 END) AS BIGINT) AS missing_rows
    FROM counts GROUP BY column_index ORDER BY column_index"""
_RANGES = """
    SELECT column_index, least(0, min(CAST(value AS BIGINT))), greatest(0, max(CAST(value AS BIGINT)))
    FROM counts JOIN columns USING (column_index) WHERE kind = 'integer' AND value <> '' GROUP BY column_index"""
_KEPT = """
    SELECT column_index, value FROM counts JOIN columns USING (column_index)
    WHERE kind = 'category' AND value <> '' AND num_rows >= {min_count}
    ORDER BY column_index, num_rows DESC, value"""


def main(argv: list[str] | None = None) -> int:
    """Runs the tool; returns the exit code and prints errors that the user can mend."""
    try:
        run(parse_args(argv))
    except UserError as e:
        print(f"process_data: {e}", file=sys.stderr)
        return e.code
    except (KeyboardInterrupt, RuntimeError) as e:
        # DuckDB turns a Ctrl-C into this RuntimeError when it comes within a query.
        if isinstance(e, RuntimeError) and str(e) != "Query interrupted":
            raise
        print("process_data: interrupted; no dictionary was written", file=sys.stderr)
        return 128 + signal.SIGINT
    return Exit.OK


def run(args: argparse.Namespace) -> None:
    """Builds and writes the dictionaries and the report.

    Raises UserError: a file is missing (exit 66), too many rows are bad or a file is damaged (65), a flag does not work (64).
    """
    started = time.monotonic()
    schema = load_schema(args.columns)
    files = find_files(args.files)
    try:
        os.makedirs(args.output_dir, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="process_data_", dir=args.temp_dir) as folder, _connect(folder, args) as con:
            size = sum(os.path.getsize(f) for f in files)
            with tqdm.tqdm(total=size, unit="B", unit_scale=True, desc="rows", disable=None) as bar:
                rows = RowReader(read_blocks(files, bar.update), args.head_rows)
                good, bad = count_values(con, rows, schema, pathlib.Path(folder))
                _check_bad(good, bad, args.max_bad_ratio)
                bar.set_description("adding up")
                con.execute(_ADD_UP)
            dictionaries = make_dictionaries(con, schema, args.min_count)
            columns = describe_columns(con, schema, dictionaries, args.min_count, good)
        save_dictionaries(args.output_dir, dictionaries)
        num_rows, secs = good + bad.total(), time.monotonic() - started
        report = {
            "rows": num_rows, "good": good, "bad": dict(sorted(bad.items())), "empty_lines": rows.num_empty,
            "ids": dictionaries.num_ids, "min_count": args.min_count, "head_rows": args.head_rows, **columns,
            "secs": round(secs, 3), "rows_per_sec": round(num_rows / secs), "files": files, "duckdb": duckdb.__version__,
        }  # fmt: skip
        path = pathlib.Path(args.report or os.path.join(args.output_dir, "report.json"))
        path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except (OSError, duckdb.IOException) as e:
        flags = f"--output_dir={args.output_dir}, --temp_dir={args.temp_dir}"
        raise UserError(f"cannot write: {e}. Give folders that can be written and have space: {flags}.", Exit.FLAGS) from e
    except duckdb.OutOfMemoryException as e:
        problem = f"--memory_limit={args.memory_limit} is too little for --threads={args.threads}: {str(e).splitlines()[0]}"
        raise UserError(f"{problem} Give more memory, fewer threads, or a --temp_dir with more space.", Exit.FLAGS) from e
    print_report(report)
    totals = f"rows={num_rows} bad={bad.total()} ids={dictionaries.num_ids} rows_per_sec={report['rows_per_sec']}"
    print(f"process_data: {totals} output={args.output_dir}")


def find_files(patterns: Iterable[str]) -> list[str]:
    """The files that the names and globs mean, each once: patterns in their order, a glob's files by number (day_2, day_10).

    Raises UserError for a pattern that means no file (exit 66).
    """
    found = []
    for pattern in patterns:
        # A name with a bracket in it is a name when such a file is there.
        names = [pattern] if os.path.isfile(pattern) else filter(os.path.isfile, glob.glob(pattern))
        in_order = sorted(names, key=lambda name: re.sub("[0-9]+", lambda number: number[0].zfill(20), name))
        if not in_order:
            raise UserError(f"{pattern} is no file, and no file matches it. Give TSV files or a quoted glob.", Exit.NO_INPUT)
        found += in_order
    return list(dict.fromkeys(found))


def read_blocks(files: Iterable[str], progress: Callable[[int], object]) -> Iterator[bytes]:
    """Yields whole lines, each with its line feed, about 1 MiB at a time; the last line of a file gets one if it has none.

    A name that ends in .gz means gzip. `progress` is called with the bytes read since its last call, as they lie on disk.
    Raises UserError for a file that cannot be read (exit 66), is damaged or has no lines (65).
    """
    for path in files:
        try:
            yield from _read_file(path, progress)
        except (gzip.BadGzipFile, zlib.error, EOFError) as e:
            raise UserError(f"{path} is no whole gzip file: {e}. Fetch it again, or leave it out.", Exit.DATA) from e
        except OSError as e:
            raise UserError(f"{path} cannot be read ({e.strerror}). Expected a TSV file.", Exit.NO_INPUT) from e


class RowReader:
    """Writes rows to chunk files for DuckDB, without the lines that its CSV reader would change.

    That reader ends a line at a carriage return, skips a byte order mark and fails on invalid UTF-8, so lines with these are
    sorted out here, and a chunk starts with a header.

    Attributes:
      bad: rows sorted out, by reason.
      num_empty: empty lines.
    """

    def __init__(self, blocks: Iterator[bytes], head_rows: int = 0):
        """Takes `head_rows` rows in order, bad ones among them, or all for 0."""
        self._blocks = _first_rows(blocks, head_rows) if head_rows else blocks
        self.bad: collections.Counter[str] = collections.Counter()
        self.num_empty = 0

    def write_chunk(self, path: pathlib.Path) -> int:
        """Writes the next rows to `path`; returns how many, 0 at the end of the input."""
        num_rows = 0
        with path.open("wb") as f:
            f.write(b"line\n")
            while f.tell() < CHUNK_BYTES and (block := next(self._blocks, None)) is not None:
                block = self._without_bad_lines(block)
                num_rows += block.count(b"\n")
                f.write(block)
        return num_rows

    def _without_bad_lines(self, block: bytes) -> bytes:
        if b"\r" not in block and b"\n\n" not in block and not block.startswith(b"\n") and _is_utf8(block):
            return block
        kept = []
        for line in block.split(b"\n")[:-1]:
            if not line:
                self.num_empty += 1
            elif not _is_utf8(line):
                self.bad["encoding"] += 1
            elif b"\r" in line:
                self.bad["carriage_return"] += 1
            else:
                kept.append(line + b"\n")
        return b"".join(kept)


def count_values(con: Connection, rows: RowReader, schema: Schema, folder: pathlib.Path) -> tuple[int, collections.Counter[str]]:
    """Fills the tables `chunk_counts` and `columns`; returns the number of good rows and the bad ones by reason.

    The next chunk is read and unpacked while DuckDB counts the one before.
    """
    con.execute("CREATE TABLE columns (column_index BIGINT, kind VARCHAR)")
    con.executemany("INSERT INTO columns VALUES (?, ?)", [[i, c.kind] for i, c in enumerate(schema.columns)])
    con.execute("CREATE TABLE chunk_counts (column_index BIGINT, value VARCHAR, num_rows BIGINT)")
    good, bad = 0, collections.Counter()
    chunk, free = folder / "even.tsv", folder / "odd.tsv"
    with concurrent.futures.ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(rows.write_chunk, chunk)
        while num_rows := ahead.result():
            ahead = reader.submit(rows.write_chunk, free)
            num_good = _count_good(con, chunk, schema)
            # All good is the usual case, and then the reasons cost nothing.
            reasons = _count_bad(con, chunk, schema) if num_good < num_rows else collections.Counter()
            if num_good + reasons.total() != num_rows:
                raise RuntimeError(f"a chunk has {num_rows} rows; DuckDB saw {num_good} good ones and {dict(reasons)}")
            good += num_good
            bad += reasons
            chunk, free = free, chunk
    return good, bad + rows.bad


def make_dictionaries(con: Connection, schema: Schema, min_count: int) -> Dictionaries:
    """The dictionaries from the table `counts`: ranges that hold 0, values seen at least `min_count` times."""
    minimum, maximum = dict.fromkeys(schema.integers, 0), dict.fromkeys(schema.integers, 0)
    for column, low, high in con.execute(_RANGES).fetchall():
        minimum[schema.names[column]], maximum[schema.names[column]] = low, high
    cat2id = {key: i for i, key in enumerate([*schema.integers, *(f"OOV{c}" for c in schema.categories)])}
    prefixes = [f"{name}_" for name in schema.names]
    kept = con.execute(_KEPT.format(min_count=min_count))
    while some := kept.fetchmany(100_000):
        for column, value in some:
            cat2id[prefixes[column] + value] = len(cat2id)
    return Dictionaries(max=maximum, min=minimum, cat2id=cat2id)


def describe_columns(con: Connection, schema: Schema, dictionaries: Dictionaries, min_count: int, good: int) -> dict:
    """What the table `counts` says of each column. Shares are of the good rows, `covered` of those with a value."""
    categories, integers = {}, {}
    for column, num_values, num_kept, kept_rows, missing_rows in con.execute(_COLUMNS.format(min_count=min_count)).fetchall():
        name, kind = schema.names[column], schema.columns[column].kind
        missing = round(missing_rows / good, 6)
        if kind == "integer":
            integers[name] = {"min": dictionaries.min[name], "max": dictionaries.max[name], "missing": missing}
        elif kind == "category":
            covered = round(kept_rows / max(good - missing_rows, 1), 6)
            categories[name] = {"values": num_values, "kept": num_kept, "covered": covered, "missing": missing}
    return {"integers": integers, "categories": categories}


def print_report(report: dict) -> None:
    """Prints the columns as two tables, and what was not counted."""
    print(f"{'column':<10}{'min':>20}{'max':>20}{'missing':>10}")
    for name, c in report["integers"].items():
        print(f"{name:<10}{c['min']:>20}{c['max']:>20}{c['missing']:>10.2%}")
    print(f"\n{'column':<10}{'values':>20}{'kept':>20}{'missing':>10}{'covered':>10}")
    for name, c in report["categories"].items():
        print(f"{name:<10}{c['values']:>20}{c['kept']:>20}{c['missing']:>10.2%}{c['covered']:>10.2%}")
    print(f"\nkept: seen at least {report['min_count']} times; covered: the share of a column's values that were kept")
    reasons = f" ({_reasons(report['bad'])})" if report["bad"] else ""
    print(f"{report['good']} good rows, {report['rows'] - report['good']} bad{reasons}, {report['empty_lines']} empty lines")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """The flags; --help exits 0. Raises UserError for one that is unknown or out of range (exit 64)."""

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> None:
            raise UserError(f"{message}. See python tools/process_data.py --help", Exit.FLAGS)

    codes = "Exit codes: 0 done, 64 wrong flags, 65 too many bad rows or a damaged file, 66 a file is missing."
    p = Parser(description=__doc__.split("\n\n")[0], epilog=codes, allow_abbrev=False)
    flags = [
        ("output_dir", str, None, "where the three pickles go (required)"),
        ("columns", str, "configs/criteo.yaml", "the columns of a row"),
        ("min_count", int, 7, "keep values seen at least this often (7: more than 6 times, as the replaced system)"),
        ("head_rows", int, 0, "use only the first N rows, bad ones too, files in order, a glob's by number; 0: all"),
        ("max_bad_ratio", float, 0.01, "write nothing when more than this share of the rows is bad"),
        ("memory_limit", str, "4GB", "for DuckDB; the process takes up to 300 MB more"),
        ("temp_dir", str, tempfile.gettempdir(), "for chunks of rows, and counts that outgrow memory"),
        ("threads", int, len(os.sched_getaffinity(0)), "of DuckDB"),
        ("report", str, "", "the report in JSON; empty: report.json in the output_dir"),
    ]
    p.add_argument("files", nargs="+", metavar="FILE_OR_GLOB", help="TSV without a header, one row a line; gzipped if named .gz")
    for name, kind, default, text in flags:
        shown = "" if default in (None, "") else f" (default: {default})"
        p.add_argument(f"--{name}", type=kind, default=default, required=default is None, metavar="X", help=text + shown)
    args = p.parse_args(argv)
    limits = {"min_count": (1, inf), "head_rows": (0, inf), "max_bad_ratio": (0, 1), "threads": (1, inf)}
    for name, (low, high) in limits.items():
        if not low <= (value := getattr(args, name)) <= high:
            expected = f"at least {low}" if high == inf else f"a number from {low} to {high}"
            raise UserError(f"--{name}={value} is out of range. Expected {expected}.", Exit.FLAGS)
    return args


def _read_file(path: str, progress: Callable[[int], object]) -> Iterator[bytes]:
    position = 0
    with open(path, "rb") as raw, gzip.open(raw) if path.endswith(".gz") else raw as file:
        while block := file.read(BLOCK_BYTES):
            rest = file.readline(BLOCK_BYTES)
            if len(rest) == BLOCK_BYTES and not rest.endswith(b"\n"):
                problem = f"{path} has a line of more than {BLOCK_BYTES} bytes"
                raise UserError(f"{problem}. Expected TSV, one row a line; gzipped files end in .gz.", Exit.DATA)
            yield block + rest if (rest or block).endswith(b"\n") else block + rest + b"\n"
            progress(raw.tell() - position)
            position = raw.tell()


def _first_rows(blocks: Iterator[bytes], num_rows: int) -> Iterator[bytes]:
    for block in blocks:
        kept = []
        for line in block.split(b"\n")[:-1]:
            kept.append(line + b"\n")
            num_rows -= line != b""
            if num_rows == 0:
                break
        yield b"".join(kept)
        if num_rows == 0:
            return


def _is_utf8(data: bytes) -> bool:
    try:
        return data.isascii() or bool(data.decode())
    except UnicodeDecodeError:
        return False


def _connect(folder: str, args: argparse.Namespace) -> Connection:
    settings = {"threads": args.threads, "memory_limit": args.memory_limit, "temp_directory": folder}
    settings["preserve_insertion_order"] = False  # the order of rows means nothing here and costs memory
    try:
        # In memory, which spills to the folder: half the work of a database file, whose tables are compressed.
        return duckdb.connect(":memory:", config=settings)
    except duckdb.Error as e:
        raise UserError(f"--memory_limit={args.memory_limit} does not work: {e}. Give one such as 4GB.", Exit.FLAGS) from e


def _count_good(con: Connection, chunk: pathlib.Path, schema: Schema) -> int:
    """Adds the counts of the chunk's good rows to `chunk_counts`; returns how many rows these are."""
    kinds = [c.kind for c in schema.columns]
    # One pass over the whole row checks all its fields; only a good row is split.
    con.execute(
        f"""CREATE OR REPLACE TEMP TABLE this_chunk AS
        SELECT column_index, value, count(*) AS num_rows
        FROM (SELECT unnest(range({len(kinds)})) AS column_index, unnest(string_split(line, chr(9))) AS value
              FROM {_lines(chunk)} WHERE {_fits(_FIELDS[k] for k in kinds)})
        GROUP BY column_index, value"""
    )
    con.execute("INSERT INTO chunk_counts FROM this_chunk")
    good = f"SELECT CAST(coalesce(sum(num_rows), 0) AS BIGINT) FROM this_chunk WHERE column_index = {kinds.index('label')}"
    return con.execute(good).fetchone()[0]


def _count_bad(con: Connection, chunk: pathlib.Path, schema: Schema) -> collections.Counter[str]:
    """The chunk's bad rows by the first reason that fits."""
    kinds = [c.kind for c in schema.columns]
    good = _fits(_FIELDS[k] for k in kinds)
    label_fits = _fits(_FIELDS["label" if k == "label" else "category"] for k in kinds)
    any_fields = _fits(_FIELDS["category"] for _ in kinds)
    reasons = con.execute(
        f"""SELECT CASE WHEN NOT {any_fields} THEN 'fields' WHEN NOT {label_fits} THEN 'label' ELSE 'number' END, count(*)
        FROM {_lines(chunk)} WHERE NOT {good} GROUP BY ALL"""
    )
    return collections.Counter(dict(reasons.fetchall()))


def _lines(chunk: pathlib.Path) -> str:
    """SQL: the lines of a chunk, each as one field with all its text as it is; no carriage return is left that could end one."""
    quoted = str(chunk).replace("'", "''")
    return rf"""read_csv('{quoted}', columns={{'line': 'VARCHAR'}}, header=true, auto_detect=false, strict_mode=false,
        delim='\r', new_line='\n', quote='', escape='', max_line_size={3 * BLOCK_BYTES}, buffer_size={_SCAN_BYTES})"""


def _fits(fields: Iterable[str]) -> str:
    """SQL: whether a line has these fields."""
    return f"regexp_full_match(line, '{chr(9).join(fields)}')"


def _check_bad(good: int, bad: collections.Counter[str], max_bad_ratio: float) -> None:
    if not (num_rows := good + bad.total()):
        raise UserError("The files hold no row. Expected TSV without a header, one row a line.", Exit.DATA)
    if (ratio := bad.total() / num_rows) > max_bad_ratio or not good:
        hint = " Lines that end in CR LF: strip the carriage returns first." if bad["carriage_return"] else ""
        problem = f"{bad.total()} of {num_rows} rows are bad ({ratio:.2%}): {_reasons(bad)}; nothing was written. Expected at most"
        raise UserError(
            f"{problem} --max_bad_ratio={max_bad_ratio:g}.{hint} Check --columns, mend the files, or raise the ratio.", Exit.DATA
        )


def _reasons(bad: dict[str, int]) -> str:
    return ", ".join(f"{reason} {n}" for reason, n in sorted(bad.items()))


if __name__ == "__main__":
    # kill is to clean up just as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
