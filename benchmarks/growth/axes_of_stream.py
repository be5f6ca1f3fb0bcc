"""What the stream's axes are measured with: the rows and the flags of partitions, windows and workers."""

import pathlib

from benchmarks.growth import rows, stream

# Small rows and a small model, so that what the stream costs is most of what a row costs.
_INTEGERS, _CATEGORIES = 4, 6
_SMALL = ["--embedding_dim=8", "--deep_layers=32", "--oov_buckets=100000", "--drift_rows=0"]
_WORKERS_PARTITIONS = 4


def partitions(context: dict, size: int) -> dict[str, float]:
    """The same number of rows, in so many partitions; `variant` is the reader."""
    folder = pathlib.Path(context["folder"])
    # A reader a partition and window takes tensorflow-io some 15 ms: of a hundred, a minute for so many rows.
    many = 1_000_000 if context["variant"] == "consumer" else 300_000
    topic = stream.Topic(context, f"partitions_{size}", _rows_file(folder), size, many)
    flags = [
        *_small_flags(folder),
        f"--reader={context['variant']}",
        "--batch_size=1000",
        "--window_rows=10000",
        "--window_secs=60",
    ]
    return stream.point(topic, flags, (20_000, many), folder)


def windows(context: dict, size: int) -> dict[str, float]:
    """Windows of so many rows, by batches of 100; `variant` is the reader."""
    folder = pathlib.Path(context["folder"])
    few, many = 20_000, 1_000_000 if size == 1_000_000 else 200_000 if size > 100 else 70_000
    topic = stream.Topic(context, f"windows_{size}", _rows_file(folder), 2, many)
    flags = [
        *_small_flags(folder),
        f"--reader={context['variant']}",
        "--batch_size=100",
        f"--window_rows={size}",
        "--window_secs=60",
    ]
    return stream.point(topic, flags, (few, many), folder)


def workers(context: dict, size: int) -> dict[str, float]:
    """So many workers on this machine's cores, by configs/criteo.flags at batches of 1,000."""
    folder = pathlib.Path(context["folder"])
    made = rows.write_lines(folder, 13, 26, 40_000)
    topic = stream.Topic(context, f"workers_{size}", made, _WORKERS_PARTITIONS, 80_000)
    columns, dictionaries = rows.write_columns(folder, 13, 26)
    flags = ["--flagfile=configs/criteo.flags", f"--columns={columns}", f"--dictionary_dir={dictionaries}", "--batch_size=1000"]
    flags += ["--window_secs=60", "--reader=consumer", "--drift_rows=0"]
    return stream.point(topic, flags, (20_000, 80_000), folder, size)


def _rows_file(folder: pathlib.Path) -> pathlib.Path:
    return rows.write_lines(folder, _INTEGERS, _CATEGORIES)


def _small_flags(folder: pathlib.Path) -> list[str]:
    columns, dictionaries = rows.write_columns(folder, _INTEGERS, _CATEGORIES)
    return [f"--columns={columns}", f"--dictionary_dir={dictionaries}", *_SMALL]
