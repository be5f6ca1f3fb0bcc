"""What the stream's axes are measured with: the rows and the flags of partitions, windows and workers."""

import pathlib

from benchmarks.growth import reckon, rows, stream

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
    """So many workers on this machine's cores, by configs/criteo.flags; `variant`: with its pairs, or without."""
    folder, batch = pathlib.Path(context["folder"]), context["batch_size"]
    few, many = (-(-rows // batch) * batch for rows in (20_000, 80_000 if batch < 8000 else 140_000))
    made = rows.write_lines(folder, 13, 26, 40_000)
    topic = stream.Topic(context, f"workers_{size}", made, _WORKERS_PARTITIONS, many)
    columns, dictionaries = rows.write_columns(folder, 13, 26)
    model = ["--flagfile=configs/criteo.flags", f"--columns={columns}", f"--dictionary_dir={dictionaries}"]
    model += ["--cross_buckets=0"] if context["variant"] == "no pairs" else []
    flags = [
        *model,
        f"--batch_size={batch}",
        f"--window_rows={max(10_000, batch)}",
        "--window_secs=60",
        "--reader=consumer",
        "--drift_rows=0",
    ]
    found = stream.point(topic, flags, (few, many), folder, size)
    if size == 1:
        return found
    # Afterwards: a process is told to have taken at least the memory of the one that has started it.
    return found | {f"reckoned: {what}, kB": sent / 1e3 for what, sent in _reckoned(model, made, batch, size).items()}


def _reckoned(flags: list[str], made: pathlib.Path, batch: int, workers: int) -> dict[str, float]:
    """Bytes that a worker sends a step, by the model that the flags make and the ids of the rows."""
    import tensorflow as tf

    from tfonline.config import parse
    from tfonline.features.make import load_known, make_features
    from tfonline.features.schema import load_schema
    from tfonline.model.learner import make_learner
    from tfonline.model.tables.replicas import make_strategy

    config = parse(["", *flags])
    schema = load_schema(config.features.columns)
    known = load_known(schema, config.features, config.vocabulary)
    features = make_features(schema, known, config.features, config.vocabulary, vocab_size=config.model.vocab_size)
    model = make_learner(make_strategy(1, "cpu"), features.spec, config.model, config.optimizers).model
    part = batch // workers
    lines = made.read_bytes().splitlines()[: max(1, 20_000 // batch) * batch]
    ids = [features(tf.constant(lines[i : i + part])).features["ids"] for i in range(0, len(lines), part)]
    distinct = sum(len(tf.unique(tf.reshape(of_part, [-1])).y) for of_part in ids) / len(ids)
    dense = sum(v.shape.num_elements() for group in model.dense_variables.values() for v in group)
    observed = sum(features.spec.inputs[name].width for name in model.observed_features)
    parts = reckon.sent(reckon.Model(dense, config.model.embedding_dim, observed), workers, part, distinct)
    return parts | {"all": sum(parts.values())}


def _rows_file(folder: pathlib.Path) -> pathlib.Path:
    return rows.write_lines(folder, _INTEGERS, _CATEGORIES)


def _small_flags(folder: pathlib.Path) -> list[str]:
    columns, dictionaries = rows.write_columns(folder, _INTEGERS, _CATEGORIES)
    return [f"--columns={columns}", f"--dictionary_dir={dictionaries}", *_SMALL]
