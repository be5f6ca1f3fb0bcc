"""The SavedModel: the trainer's scores to the bit, in a process that has never heard of tfonline."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf
from rows import SCHEMA, make_dictionaries, make_rows
from servable_helpers import clients_scores, make_features, trainers_scores
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from tfonline import formats
from tfonline.config import parse
from tfonline.formats.reasons import REASONS
from tfonline.publish.servable import Servable
from tfonline.publish.versions import digests
from tfonline.train import run

ROWS = make_rows(2000)
BATCH = 250
MODELS = {
    "minmax": ["--numeric=minmax"],
    "log json": ["--numeric=log", "--message_format=json", "--oov_buckets=100"],
    "all": [
        "--numeric=bucket",
        "--history",
        "--cross_buckets=1000",
        "--cross_partners=6",
        "--average_rows=500",
        "--oov_buckets=100",
    ],
}


def as_json(row: bytes) -> bytes:
    return formats.find("json").encode(row.decode().split("\t"), ())


@pytest.fixture(scope="module", params=MODELS.values(), ids=MODELS)
def trained(request, tmp_path_factory):
    """A trained model's flags, and its servable at the newest checkpoint."""
    folder = tmp_path_factory.mktemp("servable")
    (folder / "rows.tsv").write_bytes(b"\n".join(as_json(r) if "--message_format=json" in request.param else r for r in ROWS))
    flags = ["", *request.param, f"--input_files={folder}/rows.tsv", f"--dictionary_dir={make_dictionaries(folder / 'd')}"]
    flags += [f"--model_dir={folder}/model", "--stop_at=latest", "--window_rows=500", "--batch_size=100", "--deep_layers=32,16"]
    config = parse(flags)
    run(config)
    servable = Servable(config.model, SCHEMA, make_features(config, folder))
    checkpoint = tf.train.latest_checkpoint(config.keeping.model_dir)
    servable.load(checkpoint)
    return config, servable


def test_the_saved_model_scores_as_the_trainer_does(trained, tmp_path):
    config, servable = trained
    servable.write(tmp_path / "saved")
    rows = [as_json(r) for r in ROWS] if config.stream.message_format == "json" else ROWS
    [expected] = trainers_scores(config, rows, BATCH, tf.train.latest_checkpoint(config.keeping.model_dir))
    assert len(np.unique(expected)) > 1000
    found = clients_scores(tmp_path, config.stream.input_files, (tmp_path / "saved", BATCH), (tmp_path / "saved", 1000))
    for scores, tolerance in zip(found, (0, 1e-6), strict=True):
        assert not scores["reason"].any()
        assert np.abs(scores["logit"] - expected).max() <= tolerance
        assert np.abs(scores["probability"] - 1 / (1 + np.exp(-expected.astype(np.float64)))).max() < 1e-6


def test_the_files_hold_neither_slots_nor_what_is_only_counted_by_the_trainer(trained, tmp_path):
    _, servable = trained
    servable.write(tmp_path / "saved")
    names = tf.train.load_checkpoint(str(tmp_path / "saved" / "variables" / "variables")).get_variable_to_shape_map()
    assert any("embedding" in name for name in names)
    assert not [name for name in names if "optimizer" in name or "position" in name or "metrics" in name]
    [table] = (tmp_path / "saved" / "assets").iterdir()
    assert re.fullmatch(r"category_ids-[0-9a-f]{16}\.tsv", table.name)
    assert len(table.read_bytes().splitlines()) == 26 * 20  # a line a value


def test_warm_up_requests_are_rows_that_the_signatures_score(trained, tmp_path):
    config, servable = trained
    servable.write(tmp_path / "saved")
    name = "assets.extra/tf_serving_warmup_requests"
    assert name in digests(tmp_path / "saved")
    logs = [PredictionLog.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(tmp_path / "saved" / name))]
    requests = [log.predict_log.request for log in logs]
    assert {request.model_spec.name for request in requests} == {"tfonline"}
    signatures, seen = tf.saved_model.load(str(tmp_path / "saved")).signatures, []
    for request in requests:
        inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
        found = signatures[request.model_spec.signature_name](**inputs)
        assert not found["reason"].numpy().any()
        assert np.isfinite(found["logit"]).all()
        seen.append((request.model_spec.signature_name, len(found["logit"])))
    assert seen == [
        ("serving_default", 1), ("serving_default", 100), ("unlabelled", 1), ("unlabelled", 100), ("columns", 1),
    ]  # fmt: skip
    # Nothing is known of the row: what the trainer makes of a message without a value.
    message = b"0" + b"\t" * 39 if config.stream.message_format == "" else json.dumps(["0", *[""] * 39]).encode()
    assert found["logit"].numpy() == servable.score(tf.constant([message]))["logit"].numpy()


def test_columns_score_as_messages_do(trained):
    config, servable = trained
    if config.stream.message_format == "json":
        rows = [json.loads(as_json(r)) for r in ROWS[:BATCH]]
    else:
        rows = [r.decode().split("\t") for r in ROWS[:BATCH]]
    columns = dict(zip(SCHEMA.names, zip(*rows, strict=True), strict=True))
    named = {n: tf.constant([float(v) if v else np.nan for v in columns[n]], tf.float64) for n in SCHEMA.of_kind("integer")}
    named |= {n: tf.constant(columns[n]) for n in SCHEMA.of_kind("category")}
    messages = [as_json(r) if config.stream.message_format == "json" else r for r in ROWS[:BATCH]]
    expected = servable.score(tf.constant(messages))
    found = servable.signatures["columns"](**named)
    assert np.array_equal(found["logit"], expected["logit"])
    named["I3"] = tf.constant([0.5, 1e30, np.inf, 2.0**53, -(2.0**53), *[2.0**53 - 1] * (BATCH - 5)], tf.float64)
    found = servable.signatures["columns"](**named)
    assert found["reason"].numpy().tolist() == [REASONS.index("number")] * 5 + [0] * (BATCH - 5)
    assert np.isnan(found["logit"][:5]).all()
    assert np.isfinite(found["logit"][5:]).all()


def asked(servable, signature, rows):
    """The logits and reasons that a signature gives for rows."""
    found = servable.signatures[signature](message=tf.constant(rows))
    bad = found["reason"].numpy() > 0
    assert np.array_equal(np.isnan(found["logit"]), bad)
    assert np.array_equal(np.isnan(found["probability"]), bad)
    return found["logit"].numpy(), [REASONS[r] for r in found["reason"].numpy()]


def test_a_bad_row_fails_alone(trained):
    config, servable = trained
    form = as_json if config.stream.message_format == "json" else bytes
    bad = [b"", form(b"x" + ROWS[0][1:]), form(ROWS[0] + b"\tmore")]
    logits, reasons = asked(servable, "serving_default", [*map(form, ROWS[:3]), *bad])
    assert reasons == ["", "", "", "empty", "label", "fields"]
    alone, _ = asked(servable, "serving_default", [*map(form, ROWS[:3]), *map(form, ROWS[:3])])
    assert np.array_equal(logits[:3], alone[:3])


def test_rows_without_the_labels_field_have_a_signature_of_their_own(trained):
    config, servable = trained
    form = as_json if config.stream.message_format == "json" else bytes
    labelled = [form(row) for row in ROWS[:3]]
    unlabelled = [form(row.split(b"\t", 1)[1]) for row in ROWS[:3]]
    expected, reasons = asked(servable, "serving_default", labelled)
    assert reasons == ["", "", ""]
    found, reasons = asked(servable, "unlabelled", unlabelled)
    assert reasons == ["", "", ""]
    assert np.array_equal(found, expected)
    assert asked(servable, "serving_default", unlabelled)[1] == ["fields"] * 3
    assert asked(servable, "unlabelled", [*labelled, b""])[1] == ["fields"] * 3 + ["empty"]


def test_a_row_whose_last_field_was_stripped_is_not_scored_as_another_one(trained):
    """Without its empty C26, a row of 40 fields is as long as one without a label: read so, I1 would be the label."""
    config, servable = trained
    whole = [row for row in make_rows(400, seed=7) if row.endswith(b"\t")]
    assert len(whole) > 20
    form = as_json if config.stream.message_format == "json" else bytes
    stripped = [form(row[:-1]) for row in whole]
    assert asked(servable, "serving_default", stripped)[1] == ["fields"] * len(whole)
    assert asked(servable, "unlabelled", [form(row.split(b"\t", 1)[1][:-1]) for row in whole])[1] == ["fields"] * len(whole)
