"""`run` over real Kafka: where it starts and ends, what closes a window, and that the way rows come does not change the model."""

import gzip
import threading

import numpy as np
import pytest
from checkpoint_helpers import saved
from confluent_kafka import Producer
from rows import make_rows

from tfonline import formats
from tfonline.evaluate.progressive import PREDICTION, exact_auc
from tfonline.features.schema import load_schema
from tfonline.lifecycle import Stop, UserError
from tfonline.stream.broker import KafkaTopic
from tfonline.stream.journal import read_journal

ROWS = make_rows(400)


def test_where_a_new_model_starts(broker, topic, start, tmp_path):
    name = topic([ROWS[:200], ROWS[200:300]])
    admin = KafkaTopic(broker.bootstrap, name, "another", {}, 5.0, Stop(), print)
    assert admin.commit([150, 100]) == ""
    (tmp_path / "offsets.json").write_text('{"0": 190, "1": 5}')
    for i, (position, rows) in enumerate(
        {
            "earliest": 300,
            "latest": 0,
            "committed:another": 50,
            f"offsets:{tmp_path}/offsets.json": 105,
            "timestamp:2020-01-01T00:00:00Z": 300,
            "timestamp:2099-01-01T00:00:00+00:00": 0,
        }.items()
    ):
        assert start(topic=name, start=position, model_dir=str(tmp_path / str(i)))["rows"] == rows, position
    # What the trainer committed is where it ended, under its own group.
    assert admin.committed("tfonline") == [200, 100]


def test_a_run_ends_at_a_timestamp_and_the_next_one_goes_on(broker, topic, start):
    name = topic([[]])
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for i, row in enumerate(ROWS[:100]):
        producer.produce(name, row, timestamp=1_700_000_000_000 + i * 1000)
    producer.flush()
    assert start(topic=name, stop_at="timestamp:2023-11-14T22:14:00Z")["rows"] == 40  # 1,700,000,040
    summary = start(topic=name, stop_at="latest")
    assert (summary["rows"], summary["rows_this_run"], summary["next"]) == (100, 60, [100])


def test_the_end_is_resolved_once_unless_another_end_is_asked_for(broker, topic, start):
    name, stop = topic([ROWS[:50]]), Stop()
    stop.request("the test, before a row is trained")
    assert start(stop, topic=name)["rows"] == 0
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for row in ROWS[50:80]:
        producer.produce(name, row)
    producer.flush()
    assert start(topic=name)["rows"] == 50  # the end as the first run saw it
    assert start(topic=name, stop_at="never", max_idle_secs=0.3)["rows"] == 80


def test_rows_that_come_while_it_runs_are_trained_by_time(broker, topic, start, tmp_path):
    """A window closes by time though it is not full, and an idle stream ends a run that says so."""
    name, journal = topic([ROWS[:10], []]), tmp_path / "model" / "windows.jsonl"

    def produce_when_the_first_window_is_planned():
        while not journal.exists() or not read_journal(journal):
            threading.Event().wait(0.01)
        producer = Producer({"bootstrap.servers": broker.bootstrap})
        for row in ROWS[10:30]:
            producer.produce(name, row, partition=1)
        producer.flush()

    thread = threading.Thread(target=produce_when_the_first_window_is_planned)
    thread.start()
    summary = start(topic=name, stop_at="never", window_rows=1000, window_secs=0.2, max_idle_secs=1)
    thread.join()
    assert (summary["ended"], summary["rows"], summary["next"]) == ("no row came for --max_idle_secs=1", 30, [10, 20])
    windows = read_journal(journal)
    assert {w.trigger for w in windows} == {"secs"}
    assert windows[0].stop == (10, 0)


def test_a_backlog_is_skipped_only_where_that_is_asked_for(topic, start, tmp_path, capfd):
    name = topic([ROWS[:300], ROWS[300:]])
    summary = start(topic=name, lag_policy="skip", max_lag_rows=100, window_rows=60)
    assert (summary["rows"], summary["skipped"], summary["next"]) == (100, {"skip": 300}, [300, 100])
    assert "window 0, 300 offsets from [0, 0] to [225, 75]: SKIPPED by --lag_policy=skip" in capfd.readouterr().out
    first = read_journal(tmp_path / "model" / "windows.jsonl")[0]
    assert (first.trigger, first.start, first.stop) == ("skip", (0, 0), (225, 75))


def test_the_way_rows_come_does_not_change_the_model(topic, start, tmp_path):
    parts = [ROWS[:250], ROWS[250:]]
    (tmp_path / "a.tsv").write_bytes(b"\n".join(parts[0]))  # no newline at the end
    with gzip.open(tmp_path / "b.tsv.gz", "wb") as f:
        f.write(b"".join(row + b"\n" for row in parts[1]))
    columns = load_schema("configs/criteo.yaml").columns
    encode = {name: form.encode for name, form in formats.FORMATS.items()}
    messages = {name: [[encode[name](row.decode().split("\t"), columns) for row in rows] for rows in parts] for name in encode}
    ways = [
        *({"topic": topic(of_parts), "message_format": name} for name, of_parts in messages.items()),
        {"input_files": f"{tmp_path}/a.tsv,{tmp_path}/b*.gz"},
    ]
    models = []
    for i, way in enumerate(ways):
        folder = str(tmp_path / f"way{i}")
        start(**way, window_rows=130, model_dir=folder)
        tensors, position = saved(folder)
        assert position["rows"] == 400
        models.append({n: np.asarray(t).tobytes() for n, t in tensors.items()})
    assert all(model == models[0] for model in models)
    assert len(models) == len(formats.FORMATS) + 1


def test_a_journal_is_replayed_over_a_topic_that_has_got_more_partitions(start, tmp_path):
    (tmp_path / "a.tsv").write_bytes(b"".join(row + b"\n" for row in ROWS[:100]))
    (tmp_path / "b.tsv").write_bytes(b"".join(row + b"\n" for row in ROWS[100:]))
    first = start(input_files=f"{tmp_path}/a.tsv", window_rows=40)
    replay = {"replay_journal": f"{tmp_path}/model/windows.jsonl", "model_dir": str(tmp_path / "replayed")}
    second = start(input_files=f"{tmp_path}/a.tsv,{tmp_path}/b.tsv", stop_at="never", **replay)
    assert (second["ended"], second["next"]) == ("the replayed journal ended", [100, 0])
    assert second["fingerprint"] == first["fingerprint"]


def test_predictions_are_of_rows_not_yet_learned_from(topic, start, tmp_path):
    rows = make_rows(3000, seed=4)
    name = topic([rows[::2], rows[1::2]])
    summary = start(topic=name, save_predictions=True, window_rows=500, deep_learning_rate=0.01, history=True)
    scored = np.fromfile(tmp_path / "model" / "predictions.bin", PREDICTION)
    assert sorted(zip(scored["partition"], scored["offset"], strict=True)) == [(p, o) for p in (0, 1) for o in range(1500)]
    labels = {(i % 2, i // 2): int(row[:1]) for i, row in enumerate(rows)}
    assert all(labels[p, o] == label for p, o, label, _ in scored)
    assert summary["total"]["auc"] == pytest.approx(exact_auc(scored["logit"], scored["label"]), abs=1e-3)
    # It learns: the label leans on C1, at best an AUC of about 0.77.
    assert exact_auc(scored["logit"][:300], scored["label"][:300]) < 0.68
    assert exact_auc(scored["logit"][-1000:], scored["label"][-1000:]) > 0.70


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_good_model(topic, start, tmp_path):
    with pytest.raises(UserError, match=r"the loss is (nan|inf) at step") as e:
        start(topic=topic([ROWS]), deep_learning_rate=1e30, window_rows=100)
    assert e.value.code == 70
    tensors, position = saved(tmp_path / "model")
    assert position["rows"] == 0
    assert all(np.isfinite(t).all() for n, t in tensors.items() if n.endswith("VARIABLE_VALUE"))


def test_a_vocabulary_that_is_too_small(topic, start):
    with pytest.raises(UserError, match=r"--vocab_size=10 is too small: .* need \d+ ids") as e:
        start(topic=topic([ROWS]), vocab_size=10)
    assert e.value.code == 64
