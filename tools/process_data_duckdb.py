"""process_data on one machine, with DuckDB: files go through in chunks, only their counts are kept, on disk beyond memory."""

import argparse
import concurrent.futures
import contextlib
import glob
import os
import pathlib
from collections.abc import Iterator

import duckdb
import process_data_files as files_of_rows
import tqdm
from process_data_sql import Dialect, count_sql

from tfonline.features.schema import Schema
from tfonline.lifecycle import Exit, UserError

_SCAN_BYTES = 16 << 20  # of a chunk, by one thread

_DIALECT = Dialect(
    full_match="regexp_full_match(line, '{pattern}')",
    numbered="unnest(range(len(fields))) AS field_index, unnest(fields) AS value",
    exploded="unnest(split(value, chr({code})))",
)


@contextlib.contextmanager
def open_engine(args: argparse.Namespace, folder: str) -> Iterator["DuckDB"]:
    """DuckDB with the settings of the flags; chunks, and counts that outgrow memory, go into the folder.

    Raises UserError (exit 64): --memory_limit is no size or too little, the disk is full.
    """
    settings = {"threads": args.threads, "memory_limit": args.memory_limit, "temp_directory": folder}
    settings["preserve_insertion_order"] = False  # the order of rows means nothing here and costs memory
    try:
        # In memory, which spills to the folder: half the work of a database file, whose tables are compressed.
        con = duckdb.connect(":memory:", config=settings)
    except duckdb.Error as e:
        raise UserError(f"--memory_limit={args.memory_limit} does not work: {e}. Give one such as 4GB.", Exit.FLAGS) from e
    try:
        with con:
            yield DuckDB(con, pathlib.Path(folder))
    except duckdb.IOException as e:
        raise OSError(str(e)) from e
    except duckdb.OutOfMemoryException as e:
        problem = f"--memory_limit={args.memory_limit} is too little for --threads={args.threads}: {str(e).splitlines()[0]}"
        raise UserError(f"{problem} Give more memory, fewer threads, or a --temp_dir with more space.", Exit.FLAGS) from e
    except RuntimeError as e:
        if str(e) == "Query interrupted":  # what DuckDB makes of a Ctrl-C that comes within a query
            raise KeyboardInterrupt from e
        raise


class DuckDB:
    """An Engine on a connection to DuckDB; see process_data_sql."""

    dialect = _DIALECT

    def __init__(self, con: duckdb.DuckDBPyConnection, folder: pathlib.Path):
        self._con, self._folder = con, folder
        self.version = duckdb.__version__

    def keep(self, name: str, select: str) -> None:
        """Keeps what the SELECT gives as a table of that name."""
        self._con.execute(f"CREATE OR REPLACE TABLE {name} AS {select}")

    def rows(self, select: str) -> Iterator[tuple]:
        """What the SELECT gives, in its order."""
        result = self._con.execute(select)
        while some := result.fetchmany(100_000):
            yield from some

    def count(self, files: list[str], schema: Schema, head_rows: int) -> None:
        """Makes the table `chunk_counts`. The next chunk is read and unpacked while DuckDB counts the one before."""
        self._con.execute("CREATE TABLE chunk_counts (column_index BIGINT, value VARCHAR, num_rows BIGINT)")
        size = sum(os.path.getsize(f) for f in files)
        with (
            tqdm.tqdm(total=size, unit="B", unit_scale=True, desc="rows", disable=None) as bar,
            concurrent.futures.ThreadPoolExecutor(1) as reader,
        ):
            blocks = files_of_rows.read_blocks(files, schema.columns, bar.update)
            rows = files_of_rows.RowReader(files_of_rows.first_rows(blocks, head_rows) if head_rows else blocks)
            chunk, free = self._folder / "even.tsv", self._folder / "odd.tsv"
            ahead = reader.submit(rows.write_chunk, chunk)
            while num_rows := ahead.result():
                ahead = reader.submit(rows.write_chunk, free)
                self._count_chunk(chunk, schema, num_rows)
                chunk, free = free, chunk
        for reason, num_lines in rows.sorted_out.items():
            self._con.execute("INSERT INTO chunk_counts VALUES (?, ?, ?)", [len(schema.columns), reason, num_lines])

    def _count_chunk(self, chunk: pathlib.Path, schema: Schema, num_rows: int) -> None:
        label, no_row = schema.names.index(schema.label), len(schema.columns)
        self.keep("this_chunk", count_sql(schema, _DIALECT, _lines(chunk)))
        seen = self._con.execute(
            f"SELECT CAST(sum(num_rows) AS BIGINT) FROM this_chunk WHERE column_index IN ({label}, {no_row})"
        ).fetchone()[0]
        if seen != num_rows:
            raise RuntimeError(f"a chunk has {num_rows} rows; DuckDB saw {seen}")
        self._con.execute("INSERT INTO chunk_counts FROM this_chunk")


def _lines(chunk: pathlib.Path) -> str:
    """SQL: the lines of a chunk, each as one field with all its text as it is; no carriage return is left that could end one."""
    # To read_csv a name is a pattern: brackets in a folder's name would have it read other files.
    quoted = glob.escape(str(chunk)).replace("'", "''")
    return rf"""read_csv('{quoted}', columns={{'line': 'VARCHAR'}}, header=true, auto_detect=false, strict_mode=false,
        delim='\r', new_line='\n', quote='', escape='', max_line_size={3 * files_of_rows.BLOCK_BYTES}, buffer_size={_SCAN_BYTES})"""
