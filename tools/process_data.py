"""Builds the dictionaries that the trainer needs (three pickles) from files of rows, with DuckDB or Apache Spark.

    python tools/process_data.py data/day_*.gz --output_dir=dictionaries
    python tools/process_data.py data/day_*.gz --output_dir=dictionaries --engine=spark --spark_master=spark://host:7077

The values of every column are counted; only the counts are kept, on disk where they outgrow memory, so the data may be far larger
than memory. Both engines run the same SQL (process_data_sql.py) and give the same bytes. A row counts exactly when the trainer
would accept it: the right number of fields, a label of 0 or 1, numbers of at most 18 digits, valid UTF-8, no carriage return. A
row that it would refuse counts nowhere and is reported by reason. Empty lines are skipped and counted.

Ids depend on the rows alone, not on the order of files, the engine or the number of threads: integer columns, then one OOV id a
category column, then the kept values by column, falling count, and bytes of the value.

A file is TSV unless it is Parquet, or its name ends in .csv or .jsonl (and then .gz): DuckDB reads those, too.
"""

import argparse
import collections
import importlib
import json
import os
import pathlib
import signal
import sys
import tempfile
import time
from math import inf

import process_data_sql as sql
from process_data_example import describe_first_bad_row

from tfonline.features.dictionaries import check_names, save_dictionaries
from tfonline.features.schema import Schema, load_schema
from tfonline.lifecycle import Exit, UserError
from tfonline.stream.row_files import find_files

ENGINES = ("duckdb", "spark")


def main(argv: list[str] | None = None) -> int:
    """Runs the tool; returns the exit code and prints errors that the user can mend."""
    try:
        run(parse_args(argv))
    except UserError as e:
        print(f"process_data: {e}", file=sys.stderr)
        return e.code
    except KeyboardInterrupt:
        print("process_data: interrupted; no dictionary was written", file=sys.stderr)
        return 128 + signal.SIGINT
    return Exit.OK


def run(args: argparse.Namespace) -> None:
    """Builds and writes the dictionaries and the report.

    Raises UserError: a file is missing (exit 66), too many rows are bad or a file is damaged (65), a flag does not work (64).
    """
    started = time.monotonic()
    schema = load_schema(args.columns)
    check_names(schema)
    files = find_files(args.files)
    open_engine = importlib.import_module(f"process_data_{args.engine}").open_engine
    try:
        os.makedirs(args.output_dir, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="process_data_", dir=args.temp_dir) as folder, open_engine(args, folder) as engine:
            engine.count(files, schema, args.head_rows)
            good, bad = sql.add_up(engine, schema)
            empty_lines = bad.pop("empty", 0)
            _check_bad(good, bad, args, files, schema)
            dictionaries = sql.make_dictionaries(engine, schema, args.min_count)
            columns = sql.describe_columns(engine, schema, dictionaries, args.min_count, good)
        save_dictionaries(args.output_dir, dictionaries)
        num_rows, secs = good + bad.total(), time.monotonic() - started
        report = {
            "rows": num_rows, "good": good, "bad": dict(sorted(bad.items())), "empty_lines": empty_lines,
            "ids": dictionaries.num_ids, "min_count": args.min_count, "head_rows": args.head_rows, **columns,
            "secs": round(secs, 3), "rows_per_sec": round(num_rows / secs), "files": files, args.engine: engine.version,
        }  # fmt: skip
        path = pathlib.Path(args.report or os.path.join(args.output_dir, "report.json"))
        path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as e:
        flags = f"--output_dir={args.output_dir}, --temp_dir={args.temp_dir}"
        raise UserError(f"cannot write: {e}. Give folders that can be written and have space: {flags}.", Exit.FLAGS) from e
    print_report(report)
    totals = f"rows={num_rows} bad={bad.total()} ids={dictionaries.num_ids} rows_per_sec={report['rows_per_sec']}"
    print(f"process_data: {totals} output={args.output_dir}")


def print_report(report: dict) -> None:
    """Prints the columns as two tables, and what was not counted."""
    print(f"{'column':<10}{'min':>20}{'max':>20}{'missing':>10}")
    for name, c in report["integers"].items():
        print(f"{name:<10}{c['min']:>20}{c['max']:>20}{c['missing']:>10.2%}")
    print(f"\n{'column':<10}{'values':>20}{'kept':>20}{'missing':>10}{'covered':>10}")
    for name, c in report["categories"].items():
        print(f"{name:<10}{c['values']:>20}{c['kept']:>20}{c['missing']:>10.2%}{c['covered']:>10.2%}")
    if numbers := report.get("numbers"):
        print(f"\n{'column':<10}{'buckets':>20}{'median':>20}{'missing':>10}")
        for name, c in numbers.items():
            median = "" if c["median"] is None else f"{c['median']:g}"
            print(f"{name:<10}{c['buckets']:>20}{median:>20}{c['missing']:>10.2%}")
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
        ("engine", str, "duckdb", "duckdb: this machine; spark: this machine, or a cluster (needs requirements-spark.txt)"),
        ("spark_master", str, "", "the cluster that Spark runs on, such as spark://host:7077; empty: this machine"),
        ("memory_limit", str, "4GB", "for DuckDB, the process takes up to 300 MB more; the heap of each process of Spark"),
        ("temp_dir", str, tempfile.gettempdir(), "for chunks of rows, and counts that outgrow memory"),
        ("threads", int, len(os.sched_getaffinity(0)), "of the engine on this machine; a cluster has its own"),
        ("report", str, "", "the report in JSON; empty: report.json in the output_dir"),
    ]
    files = "TSV, CSV (.csv), JSON objects (.jsonl), each plain or .gz, with a header of the columns' names or without; Parquet"
    p.add_argument("files", nargs="+", metavar="FILE_OR_GLOB", help=files)
    for name, kind, default, text in flags:
        shown = "" if default in (None, "") else f" (default: {default})"
        p.add_argument(f"--{name}", type=kind, default=default, required=default is None, metavar="X", help=text + shown)
    args = p.parse_args(argv)
    if args.engine not in ENGINES:
        raise UserError(f"--engine={args.engine} is none. Expected {' or '.join(ENGINES)}.", Exit.FLAGS)
    if args.spark_master and args.engine != "spark":
        raise UserError(f"--spark_master={args.spark_master} is for Spark. Add --engine=spark, or leave it out.", Exit.FLAGS)
    if args.spark_master and args.threads != p.get_default("threads"):
        raise UserError(f"--threads={args.threads} is for this machine. Leave it out with --spark_master.", Exit.FLAGS)
    limits = {"min_count": (1, inf), "head_rows": (0, inf), "max_bad_ratio": (0, 1), "threads": (1, inf)}
    for name, (low, high) in limits.items():
        if not low <= (value := getattr(args, name)) <= high:
            expected = f"at least {low}" if high == inf else f"a number from {low} to {high}"
            raise UserError(f"--{name}={value} is out of range. Expected {expected}.", Exit.FLAGS)
    return args


def _check_bad(good: int, bad: collections.Counter[str], args: argparse.Namespace, files: list[str], schema: Schema) -> None:
    if not (num_rows := good + bad.total()):
        raise UserError("The files hold no row. Expected TSV without a header, one row a line.", Exit.DATA)
    if (ratio := bad.total() / num_rows) > args.max_bad_ratio or not good:
        hint = " Lines that end in CR LF: strip the carriage returns first." if bad["carriage_return"] else ""
        problem = f"{bad.total()} of {num_rows} rows are bad ({ratio:.2%}): {_reasons(bad)}; nothing was written. Expected at most"
        raise UserError(
            f"{problem} --max_bad_ratio={args.max_bad_ratio:g}.{describe_first_bad_row(files, schema, args.head_rows)}{hint} "
            "Check --columns, mend the files, or raise the ratio.",
            Exit.DATA,
        )


def _reasons(bad: dict[str, int]) -> str:
    return ", ".join(f"{reason} {n}" for reason, n in sorted(bad.items()))


if __name__ == "__main__":
    # kill is to clean up just as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
