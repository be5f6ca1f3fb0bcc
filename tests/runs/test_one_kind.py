"""Data sets without integer columns, without categories, and of a single column: from files of rows to what is served."""

import json

import inspect_checkpoint
import models
import numpy as np
import process_data_helpers
import pytest
import tensorflow as tf
from learner_helpers import learner_by_flags
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from tfonline.config import parse
from tfonline.features.dictionaries import Dictionaries, load_dictionaries
from tfonline.features.pipeline import Features
from tfonline.features.schema import load_schema
from tfonline.formats.make import format_of
from tfonline.model.tables.replicas import make_strategy
from tfonline.publish.versions import Versions
from tfonline.train import run

ALL = ["--history", "--cross_buckets=500", "--average_rows=200", "--oov_buckets=20"]
CASES = {
    "integers, minmax": ("integer", 3, ["--numeric=minmax", *ALL]),
    "integers, minmax, no more": ("integer", 2, ["--numeric=minmax"]),
    "integers, log, json": ("integer", 2, ["--numeric=log", "--message_format=json"]),
    "integers, bucket, two replicas": ("integer", 2, ["--numeric=bucket", "--num_replicas=2", "--devices=cpu"]),
    "one integer": ("integer", 1, ["--numeric=bucket", *ALL]),
    "categories, minmax": ("category", 3, ["--numeric=minmax", *ALL]),
    "categories, log, json": ("category", 2, ["--numeric=log", "--message_format=json"]),
    "categories, bucket, two replicas": ("category", 2, ["--numeric=bucket", "--num_replicas=2", "--devices=cpu"]),
    "numbers, minmax": ("number", 2, ["--numeric=minmax", *ALL]),
    "one number": ("number", 1, ["--numeric=bucket"]),
    "times": ("time", 2, ["--numeric=log", *ALL]),
    "one category": ("category", 1, ["--numeric=bucket", *ALL]),
}


def write_columns(folder, kind, num_columns) -> str:
    path = folder / "columns.yaml"
    columns = f"- {{name: click, kind: label}}\n- {{name: A1..A{num_columns}, kind: {kind}}}\n"
    path.write_text(f"name: one kind\ncolumns:\n{columns}")
    return str(path)


def make_rows(num_columns, n=400, times=False) -> list[bytes]:
    """Rows whose values are small numbers, which may be categories as well; times are hours apart. Every seventh is missing."""
    r = np.random.default_rng(1)
    rows = []
    for i in range(n):
        values = r.integers(0, 50, num_columns)
        click = int(r.random() < (0.8 if values[0] % 2 else 0.1))
        values *= 7919 if times else 1
        rows.append("\t".join([str(click), *("" if (i + j) % 7 == 0 else str(v) for j, v in enumerate(values))]).encode())
    return rows


@pytest.mark.parametrize(("kind", "num_columns", "flags"), CASES.values(), ids=CASES)
def test_a_data_set_of_one_kind_is_trained_published_and_scored(tmp_path, kind, num_columns, flags):
    columns, rows = write_columns(tmp_path, kind, num_columns), make_rows(num_columns, times=kind == "time")
    (tmp_path / "rows.tsv").write_bytes(b"\n".join(rows) + b"\n")
    assert process_data_helpers.build(tmp_path, tmp_path / "rows.tsv", columns=columns, out="dictionaries")[0] == 0
    if "--message_format=json" in flags:
        rows = [json.dumps(row.decode().split("\t")).encode() for row in rows]
        (tmp_path / "rows.tsv").write_bytes(b"\n".join(rows) + b"\n")
    about = {
        "columns": columns, "dictionary_dir": tmp_path / "dictionaries", "input_files": tmp_path / "rows.tsv", "stop_at": "latest",
        "model_dir": tmp_path / "model", "window_rows": 100, "batch_size": 50, "deep_layers": "8,4", "embedding_dim": 4,
        "export_dir": tmp_path / "models", "export_every_windows": 1, "gate_rows": 50, "gate_min_auc": 0, "gate_calibration": 0,
        "gate_max_regression": 9,
    }  # fmt: skip
    config = parse(["", *(f"--{name}={value}" for name, value in about.items()), *flags])
    summary = run(config).summary
    assert (summary["rows"], summary["rejected"]) == (400, 0)

    newest = Versions(tmp_path / "models").path(Versions(tmp_path / "models").numbers[-1])
    signatures = tf.saved_model.load(str(newest)).signatures
    found = signatures["serving_default"](message=tf.constant(rows[:100]))
    assert found["reason"].numpy().tolist() == [0] * 100
    assert np.abs(found["logit"] - trainers_scores(config, rows[:100])).max() < 1e-6
    assert len(np.unique(found["logit"])) > 20
    values = [json.loads(row) if row.startswith(b"[") else row.decode().split("\t") for row in rows[:100]]
    names = [f"A{i + 1}" for i in range(num_columns)]
    of_columns = {
        name: tf.constant([float(row[i] or "nan") for row in values], tf.float64)
        if kind in ("integer", "number")
        else [row[i] for row in values]
        for i, name in enumerate(names, start=1)
    }
    assert np.array_equal(signatures["columns"](**of_columns)["logit"], found["logit"])
    unlabelled = [json.dumps(row[1:]) if "--message_format=json" in flags else "\t".join(row[1:]) for row in values]
    of_unlabelled = signatures["unlabelled"](message=tf.constant(unlabelled))
    written = np.array([bool(text) for text in unlabelled])  # of a single column, a row without a value is no message at all
    assert np.array_equal(of_unlabelled["logit"].numpy()[written], found["logit"].numpy()[written])
    assert (of_unlabelled["reason"].numpy() > 0).tolist() == (~written).tolist()
    for record in tf.data.TFRecordDataset(str(newest / "assets.extra" / "tf_serving_warmup_requests")):
        request = PredictionLog.FromString(record.numpy()).predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
        assert len(signatures[request.model_spec.signature_name](**inputs)["logit"]) in (1, 100)

    assert inspect_checkpoint.main([str(tmp_path / "model")]) == 0
    assert models.main(["verify", str(tmp_path / "models")]) == 0


def trainers_scores(config, rows):
    """The logits of the trainer's own features and model, at the newest checkpoint."""
    schema = load_schema(config.features.columns)
    dictionaries = load_dictionaries(config.features.dictionary_dir, schema)
    features = Features(
        schema,
        dictionaries,
        config.features.numeric,
        format_of(config.stream, schema),
        config.features.oov_buckets,
        config.features.cross_buckets,
    )
    learner = learner_by_flags(make_strategy(1, "cpu"), config, features.spec)
    newest = tf.train.latest_checkpoint(config.keeping.model_dir)
    tf.train.Checkpoint(learner=learner).read(newest).assert_existing_objects_matched().expect_partial()
    row = features(tf.constant(rows))
    return learner.score(row.features)


@pytest.mark.parametrize("kind", ["integer", "category"])
def test_dictionaries_of_one_kind(engine, tmp_path, kind):
    columns = write_columns(tmp_path, kind, 2)
    (tmp_path / "rows.tsv").write_bytes(b"1\t5\t\n0\t-7\t5\n1\t5\t5\n")
    code, out = process_data_helpers.build(tmp_path, tmp_path / "rows.tsv", columns=columns, engine=engine, min_count=1)
    assert code == 0
    assert (
        load_dictionaries(str(out), load_schema(columns))
        == {
            "integer": Dictionaries({"A1": 5, "A2": 5}, {"A1": -7, "A2": 0}, {"A1": 0, "A2": 1}),
            "category": Dictionaries({}, {}, {"OOVA1": 0, "OOVA2": 1, "A1_5": 2, "A1_-7": 3, "A2_5": 4}),
        }[kind]
    )
