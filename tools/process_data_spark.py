"""process_data with Apache Spark: on this machine, or on a cluster whose machines all see the files under the same names.

Spark reads the files itself, in pieces of 128 MB and each .gz file by one task, so nothing but the ids comes to this process.
"""

import argparse
import contextlib
import itertools
import logging
import os
import pathlib
import re
import signal
import threading
import urllib.parse
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from process_data_files import LINE_BYTES, damaged, first_rows, is_other, read_blocks, too_long
from process_data_sql import Dialect, count_sql

from tfonline.features.schema import Schema
from tfonline.lifecycle import Exit, UserError

if TYPE_CHECKING:
    import pyspark.sql

_RULES = "org.apache.spark.sql.catalyst.optimizer"
_LEAST_MB = 512  # Spark does not start with less
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_DECOMPRESSED = (".bz2", ".deflate", ".lz4", ".snappy", ".zst")  # by Spark, by their names; only .gz is for both engines

_DIALECT = Dialect(
    # Spark has a search only. Its regular expressions are Java's, whose $ stops before a last line separator such as U+2028.
    full_match=r"regexp_like(line, r'\A{pattern}\z')",
    numbered="posexplode(fields) AS (field_index, value)",
    exploded=r"explode(split(value, r'\x{{{code:x}}}'))",
    # Spark is given all lines as they are, where DuckDB gets only those that its reader leaves so.
    sorted_out=f"""
        WHEN line = '' THEN 'empty'
        WHEN octet_length(line) >= {LINE_BYTES} THEN raise_error('long:' || input_file_name())
        WHEN NOT is_valid_utf8(line) THEN 'encoding'
        WHEN contains(line, chr(13)) THEN 'carriage_return'""",
)


@contextlib.contextmanager
def open_engine(args: argparse.Namespace, folder: str) -> Iterator["Spark"]:
    """Spark with the settings of the flags. A session that runs in this process already is used, and left running.

    Raises UserError: PySpark or Java is not installed, a flag does not work (exit 64), a file is damaged (65).
    """
    try:
        import pyspark.sql
        from py4j.protocol import Py4JError, Py4JNetworkError
    except ImportError as e:
        problem = f"--engine=spark needs PySpark, which is not installed ({e})"
        raise UserError(f"{problem}. Install it: pip install -r requirements-spark.txt. Or use --engine=duckdb.", Exit.FLAGS) from e
    running = pyspark.sql.SparkSession.getActiveSession()
    session = running or start(args, folder)
    engine = Spark(session.newSession(), pathlib.Path(folder))
    try:
        yield engine
    except Py4JNetworkError as e:
        raise _too_little_memory(args, f"Spark's process ended ({e})") from e
    except Py4JError as e:
        if error := _as_user_error(args, str(e)):
            raise error from e
        raise
    finally:
        # Where Spark's process is gone, there is nothing to release.
        with contextlib.suppress(Py4JError, ConnectionError):
            engine.release()
            if not running:
                session.stop()


class Spark:
    """An Engine on a session of Spark; see process_data_sql."""

    dialect = _DIALECT

    def __init__(self, session: "pyspark.sql.SparkSession", folder: pathlib.Path):
        self._session, self._folder = session, folder
        # That rule tests the split fields before they are made rows, and so splits each line twice.
        session.conf.set("spark.sql.optimizer.excludedRules", f"{_RULES}.InferFiltersFromGenerate")
        self._kept: list[pyspark.sql.DataFrame] = []
        self.version = session.version

    def keep(self, name: str, select: str) -> None:
        """Keeps what the SELECT gives as a table of that name, in memory and beyond it on the disks of the executors."""
        self._kept.append(self._session.sql(select).persist())
        self._kept[-1].createOrReplaceTempView(name)

    def rows(self, select: str) -> Iterator[tuple]:
        """What the SELECT gives, in its order."""
        found = self._session.sql(select).toLocalIterator(prefetchPartitions=True)
        while True:
            # PySpark leaves it to the garbage collector to close the socket of a result.
            with warnings.catch_warnings(action="ignore", category=ResourceWarning):
                some = list(itertools.islice(found, 100_000))
            if not some:
                return
            yield from some

    def count(self, files: list[str], schema: Schema, head_rows: int) -> None:
        """Makes the table `chunk_counts`, when it is asked for."""
        for path in files:
            _check_readable_by_spark(path, schema)
        if head_rows:
            # Spark knows no order of rows over files; these are few enough to be read here.
            head = self._folder / "head.tsv"
            with head.open("wb") as f:
                f.writelines(first_rows(read_blocks(files, schema.columns), head_rows))
            files = [str(head)]
        lines = self._session.read.text([_path_of(f) for f in files], lineSep="\n")
        lines.withColumnRenamed("value", "line").createOrReplaceTempView("lines")
        self._session.sql(count_sql(schema, _DIALECT, "lines")).createOrReplaceTempView("chunk_counts")

    def release(self) -> None:
        """Gives back what the tables hold, for a session that goes on."""
        for frame in self._kept:
            frame.unpersist()


def start(args: argparse.Namespace, folder: str) -> "pyspark.sql.SparkSession":
    """Starts Spark with the settings of the flags, its log and what outgrows memory in the folder.

    Raises UserError: Java is not installed, a flag does not work (exit 64).
    """
    from pyspark import SparkConf, SparkContext
    from pyspark.errors import PySparkException
    from pyspark.java_gateway import launch_gateway
    from pyspark.sql import SparkSession

    memory = f"{_megabytes(args.memory_limit)}m"
    settings = {
        "spark.app.name": "process_data", "spark.master": args.spark_master or f"local[{args.threads}]",
        "spark.driver.memory": memory, "spark.executor.memory": memory, "spark.local.dir": folder,
        "spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.log.level": "ERROR",
    }  # fmt: skip
    if not args.spark_master:
        settings |= {"spark.driver.host": "localhost", "spark.driver.bindAddress": "127.0.0.1"}  # no port for others
        settings["spark.sql.shuffle.partitions"] = str(4 * args.threads)  # Spark's 200 are for a cluster
    # What py4j logs of a Ctrl-C or a lost process comes as an exception too.
    logging.getLogger().addFilter(lambda record: record.module != "java_gateway")
    logging.getLogger("py4j").setLevel(logging.CRITICAL)
    conf = SparkConf().setAll(list(settings.items()))
    # Java and Spark write to stderr before any level of a log can be set; what they write is kept for an error.
    log = pathlib.Path(folder) / "spark.log"
    try:
        with log.open("wb") as f:
            gateway = launch_gateway(conf, {"stdout": f, "stderr": f})
        on_ctrl_c = signal.getsignal(signal.SIGINT)
        context = SparkContext(conf=conf, gateway=gateway)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, on_ctrl_c)  # PySpark's own talks to Java in the midst of another call, and fails
        return SparkSession(context)
    except Exception as e:
        # Where Java ended before it answered, only the log says why.
        told = re.search(r"^.*(?:Exception|Error|error): .*$", log.read_text(errors="replace"), re.MULTILINE)
        why = told[0] if isinstance(e, PySparkException) and told else str(e).splitlines()[0]
        problem = f"Spark does not start with --spark_master={settings['spark.master']}: {why}"
        raise UserError(f"{problem}. It needs Java 17 or newer (JAVA_HOME), and a master that can be reached.", Exit.FLAGS) from e


def _megabytes(memory_limit: str) -> int:
    """Of 2**20 bytes, as Java takes it. The units are DuckDB's: GB is 10**9 bytes, GiB 2**30."""
    units = {f"{unit}{end}": base**power for power, unit in enumerate("kmgt", 1) for end, base in (("b", 1000), ("ib", 1024))}
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)", memory_limit.lower())
    if found is None or found[2] not in units:
        raise UserError(f"--memory_limit={memory_limit} does not work: no number with a unit. Give one such as 4GB.", Exit.FLAGS)
    if (megabytes := int(float(found[1]) * units[found[2]]) >> 20) < _LEAST_MB:
        raise UserError(f"--memory_limit={memory_limit} is too little for Spark. Expected at least {_LEAST_MB}MiB.", Exit.FLAGS)
    return megabytes


def _check_readable_by_spark(path: str, schema: Schema) -> None:
    """Raises UserError where Spark would read something else than DuckDB: nothing, a decompressed file, another first line."""
    name = os.path.basename(path)
    if is_other(path, schema.columns):
        problem = f"{path} is no TSV without a header, which is all that --engine=spark reads here"
        raise UserError(f"{problem}. Use --engine=duckdb, or write the rows as TSV.", Exit.FLAGS)
    if name.startswith(("_", ".")) or ":" in path:
        problem = f"{path}: Spark passes over names that begin with an underscore or a dot, and takes none with a colon"
        raise UserError(f"{problem}. Rename it, or use --engine=duckdb.", Exit.NO_INPUT)
    if name.endswith(_DECOMPRESSED):
        raise UserError(f"{path} has a name of a compressed file. Expected TSV, plain or as .gz. Rename or repack it.", Exit.DATA)
    with contextlib.closing(read_blocks([path], schema.columns)) as blocks:
        if next(blocks, b"").startswith(_BYTE_ORDER_MARK):
            problem = f"{path} begins with a byte order mark, which Spark passes over though it makes the first row a bad one"
            raise UserError(f"{problem}. Strip it, or use --engine=duckdb.", Exit.DATA)


def _path_of(file: str) -> str:
    # The name itself: a scheme in front, lest another file system be a cluster's default, and nothing in it a glob.
    return "file://" + re.sub(r"([\\{}\[\]*?])", r"\\\1", os.path.abspath(file))


def _as_user_error(args: argparse.Namespace, problem: str) -> UserError | None:
    """What a person can do about a failure of Spark, from its text with all causes; None: a bug."""
    if found := re.search(r"long:(file:\S+)", problem):
        return too_long(_file_of(found[1]))
    if "OutOfMemoryError" in problem or "SparkOutOfMemoryError" in problem:
        return _too_little_memory(args, "it ran out of memory")
    if "No space left on device" in problem:
        flags = f"--temp_dir={args.temp_dir}"
        return UserError(f"cannot write: No space left on device. Give a folder that has space: {flags}.", Exit.FLAGS)
    if found := re.search(r"FAILED_READ_FILE\.(\w+)\].*?(file:[^\s]+?)\.?\s", problem):
        causes = re.findall(r"^Caused by: (.*)$", problem, re.MULTILINE)
        path = _file_of(found[2])
        if found[1] == "FILE_NOT_EXIST":
            hint = "All machines of --spark_master must see the files, and --temp_dir with --head_rows, under the same names."
            return UserError(f"{path} cannot be read by Spark: it is not there. {hint}", Exit.NO_INPUT)
        return damaged(path, (causes or ["unreadable"])[-1])
    return None


def _file_of(uri: str) -> str:
    return urllib.parse.unquote(re.sub("^file:/+", "/", uri))


def _too_little_memory(args: argparse.Namespace, problem: str) -> UserError:
    given = f"--memory_limit={args.memory_limit} is too little for --threads={args.threads}: {problem}"
    return UserError(f"{given}. Give more memory or fewer threads.", Exit.FLAGS)
