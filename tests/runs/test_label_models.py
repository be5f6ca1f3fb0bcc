"""Models whose labels come in a topic of their own: published, judged, served, looked at by tools; fewer negatives, and drift."""

import gzip
import json

import numpy as np
import pytest
import tensorflow as tf
from kafka_helpers import run_tool
from publisher_helpers import AtOnce
from serving_helpers import Server
from two_topics import TwoTopics

from tfonline.evaluate.progressive import PREDICTION
from tfonline.publish import publisher
from tfonline.publish.versions import Versions

NUMBER = 6000
EXPORT = {
    "export_every_secs": 0, "export_every_windows": 2, "gate_rows": 500, "gate_calibration": 0.9, "gate_min_auc": 0.5,
    "gate_max_regression": 1.0, "window_rows": 500, "deep_learning_rate": 0.02, "metric_rows": 1000, "drift_rows": 1000,
    "batch_size": 10,
}  # fmt: skip


def fill(topics, number=NUMBER):
    """Rows from five minutes on, of which those of the items 0 to 4 are likely positives."""
    items = topics.random.integers(0, 20, number)
    messages = [b"i%d\tu%d" % (item, topics.random.integers(50)) for item in items]
    keys = topics.add_rows(number, secs_ago=3600, messages=messages)
    x = topics.random.random(number)
    topics.add_outcomes((key for key, item, x in zip(keys, items, x, strict=True) if x < (0.5 if item < 5 else 0.1)), most_secs=5)
    return items


@pytest.fixture(scope="module", params=["wait", "fnw", "es_dfm"])
def published(request, broker, tmp_path_factory):
    """The topics of a run that has published, and its summary."""
    topics = TwoTopics(broker.bootstrap, tmp_path_factory.mktemp(request.param))
    fill(topics)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(publisher, "ThreadPoolExecutor", AtOnce)
        summary = topics.train(late_labels=request.param, export_dir=f"{topics.folder}/models", **EXPORT)
    return topics, request.param, summary


def newest(topics):
    versions = Versions(topics.folder / "models")
    return versions.numbers[-1], versions.manifest(versions.numbers[-1]), str(versions.path(versions.numbers[-1]))


def test_the_gate_lets_a_model_pass_and_says_true_rates(published):
    topics, _, summary = published
    _, manifest, _ = newest(topics)
    metrics = manifest["metrics"]
    assert 500 <= metrics["rows"] <= 1000
    assert metrics["calibration"] == pytest.approx(1, abs=0.35)
    assert metrics["auc"] > 0.6
    assert summary["rows"] == NUMBER


def test_metrics_of_all_rows_speak_of_what_is_known(published):
    topics, policy, summary = published
    labels = topics.labels
    known = sum(labels.values()) if policy == "wait" else topics.late()
    rate = known / NUMBER
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    assert summary["total"]["trivial_log_loss"] == pytest.approx(entropy, rel=1e-6)
    assert summary["total"]["rows"] == pytest.approx(NUMBER)
    if policy != "wait":
        assert summary["settled"]["rows"] > 500


def test_rows_without_a_label_score_as_in_the_trainer_by_message_and_by_column(published):
    topics, *_ = published
    signatures = tf.saved_model.load(newest(topics)[2]).signatures
    likely, unlikely = ([b"i%d\tu%d" % (item, user) for item in items for user in range(20)] for items in ((0, 1), (10, 11)))
    scores = [signatures["unlabelled"](message=tf.constant(m))["probability"].numpy() for m in (likely, unlikely)]
    assert scores[0].mean() > scores[1].mean() + 0.1
    assert scores[1].mean() < 0.3
    columns = {name: tf.constant([m.split(b"\t")[i] for m in likely]) for i, name in enumerate(("item", "user"))}
    np.testing.assert_array_equal(signatures["columns"](**columns)["probability"].numpy(), scores[0])
    # A message with the label's field is another signature's.
    labelled = signatures["serving_default"](message=tf.constant([b"0\t" + m for m in likely]))["probability"].numpy()
    np.testing.assert_array_equal(labelled, scores[0])


def test_the_server_answers(published):
    topics, *_ = published
    *_, path = newest(topics)
    server = Server(topics.folder / "models", topics.folder / "server.log")
    try:
        rows = [{"item": f"i{n}", "user": "u1"} for n in range(20)]
        status, content = server.wait_for_room({"signature_name": "columns", "instances": rows})
        assert status == 200
        wanted = (
            tf.saved_model.load(path)
            .signatures["columns"](item=tf.constant([row["item"] for row in rows]), user=tf.constant(["u1"] * 20))["probability"]
            .numpy()
        )
        np.testing.assert_allclose([one["probability"] for one in content["predictions"]], wanted, rtol=1e-6)
        status, content = server.predict({"signature_name": "unlabelled", "instances": ["i1\tu1", "i2"]})
        assert (status, len(content["predictions"])) == (200, 2)
    finally:
        server.process.terminate()
        server.process.wait()


def test_nothing_is_told_of_the_drift_of_a_model_on_a_stream_that_stays_as_it_is(published):
    topics, _, _ = published
    path = topics.folder / "model" / "drift.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    assert [line for line in lines if line["about"] not in ("item", "user")] == []


def test_tools_read_the_folder_and_score_rows_without_a_label(published):
    topics, *_ = published
    code, out, err = run_tool("report", topics.folder / "model", f"--out={topics.folder}/page.html")
    assert code == 0, err
    assert (topics.folder / "page.html").stat().st_size > 10_000
    code, out, err = run_tool("inspect_checkpoint", topics.folder / "model")
    assert code == 0, err
    code, out, err = run_tool("models", "list", topics.folder / "models")
    assert code == 0, err
    (topics.folder / "rows.gz").write_bytes(gzip.compress(b"i1\tu1\ni12\tu2\n"))
    code, out, err = run_tool("models", "score", topics.folder / "models", topics.folder / "rows.gz", "--labels=no")
    assert code == 0, err
    assert len(out.splitlines()) >= 2


# Fewer negatives


def test_a_share_of_the_negatives_stands_for_all_of_them(broker, tmp_path):
    topics = TwoTopics(broker.bootstrap, tmp_path)
    fill(topics)
    # A row that looks like a negative where the label stands first.
    refused = topics.add_rows(2, secs_ago=3000, messages=[b"0\tx\ty", b"0\tx"])
    flags = {**EXPORT, "keep_negatives": 0.25}
    summary = topics.train(**flags)
    labels = topics.labels
    positives = sum(labels.values())
    negatives = len(labels) - positives
    scored = np.fromfile(topics.folder / "model" / "predictions.bin", PREDICTION)
    assert int(scored["label"].sum()) == positives
    assert summary["rows"] + summary["skipped"]["negatives"] + summary["rejected"] == NUMBER + len(refused)
    assert summary["skipped"]["negatives"] == pytest.approx(0.75 * negatives, rel=0.05)
    assert summary["total"]["rows"] == pytest.approx(NUMBER, rel=0.05)
    assert summary["running"]["calibration"] == pytest.approx(1, abs=0.35)  # it would be 3 without the correction
    again = topics.train(
        "again", keep_negatives=0.25, replay_journal=f"{tmp_path}/model/windows.jsonl", **{**EXPORT, "drift_rows": 0}
    )
    assert (again["fingerprint"], again["skipped"]) == (summary["fingerprint"], summary["skipped"])
