"""Training from messages of many rows, on a real broker: the model of the same rows as TSV, exactly once, refused rows alone."""

import json

import numpy as np
import pytest
from confluent_kafka import Producer
from kafka_helpers import make_topic, read_messages

from tfonline.config import parse
from tfonline.evaluate.progressive import PREDICTION, PREDICTION_IN_MESSAGE
from tfonline.features.schema import load_schema
from tfonline.formats import FORMATS
from tfonline.lifecycle import UserError
from tfonline.publish.versions import Versions
from tfonline.train import run

COLUMNS = """
name: arrow
columns:
  - {name: click, kind: label}
  - {name: price, kind: number, path: item.price}
  - {name: age, kind: integer}
  - {name: user, kind: category}
  - {name: tags, kind: categories, max_length: 2}
"""
ARROW, TSV = FORMATS["arrow"], FORMATS["tsv"]
FLAGS = [
    "--vocabulary_rows=64", "--admit_after=2", "--admit_counters=1024", "--oov_buckets=20", "--cross_buckets=500", "--history",
    "--batch_size=50", "--deep_layers=8,4", "--embedding_dim=4", "--stop_at=latest", "--save_predictions", "--window_secs=600",
    "--export_every_windows=1", "--gate_rows=50", "--gate_min_auc=0", "--gate_calibration=0", "--gate_max_regression=9",
]  # fmt: skip


def make_rows(count, seed):
    r = np.random.default_rng(seed)
    return [
        [str(int(r.random() < 0.4)), str(round(float(r.gamma(2)), 3)), str(r.integers(0, 80)), f"u{r.integers(0, 30)}", "a|b"]
        for _ in range(count)
    ]


def together(rows, size, columns):
    return [ARROW.encode_rows(rows[i : i + size], columns) for i in range(0, len(rows), size)]


def produce(bootstrap, topic, messages):
    producer = Producer({"bootstrap.servers": bootstrap})
    for message in messages:
        producer.produce(topic, message, partition=0)
    assert producer.flush(60) == 0


@pytest.fixture
def train(tmp_path, broker):
    """Trains from a topic; returns the summary."""
    (tmp_path / "columns.yaml").write_text(COLUMNS)

    def start(topic, folder, form, *flags):
        about = {"columns": tmp_path / "columns.yaml", "model_dir": tmp_path / folder, "export_dir": tmp_path / f"{folder}_models"}
        about |= {"topic": topic, "bootstrap_servers": broker.bootstrap, "message_format": form.name}
        return run(parse(["", *(f"--{name}={value}" for name, value in about.items()), *FLAGS, *flags])).summary

    start.columns = load_schema(str(tmp_path / "columns.yaml")).columns
    return start


def test_it_is_the_model_of_the_same_rows_one_by_one_also_where_processes_decode(train, broker, tmp_path):
    of_partitions = [make_rows(210, 1), make_rows(140, 2)]
    plain = [[TSV.encode(row, train.columns) for row in rows] for rows in of_partitions]
    of_tsv = train(make_topic(broker.bootstrap, plain), "tsv", TSV, "--window_rows=350")
    topic = make_topic(broker.bootstrap, [together(rows, 7, train.columns) for rows in of_partitions])
    of_arrow = train(topic, "arrow", ARROW, "--window_rows=50", "--decoder_processes=2")

    assert (of_arrow["rows"], of_arrow["steps"]) == (of_tsv["rows"], of_tsv["steps"]) == (350, 7)
    wanted = np.fromfile(tmp_path / "tsv" / "predictions.bin", PREDICTION)
    found = np.fromfile(tmp_path / "arrow" / "predictions.bin", PREDICTION_IN_MESSAGE)
    for name in ("partition", "label", "logit"):
        np.testing.assert_array_equal(found[name], wanted[name])
    np.testing.assert_array_equal(found["offset"] * 7 + found["row"], wanted["offset"])
    assert Versions(tmp_path / "arrow_models").numbers == [1]


def test_a_run_goes_on_behind_the_messages_of_its_checkpoint(train, broker, tmp_path):
    rows = make_rows(280, 3)
    messages = together(rows, 7, train.columns)
    whole = train(make_topic(broker.bootstrap, [messages]), "whole", ARROW, "--window_rows=10")
    halves = make_topic(broker.bootstrap, [messages[:20]])
    first = train(halves, "parts", ARROW, "--window_rows=10")
    produce(broker.bootstrap, halves, messages[20:])
    second = train(halves, "parts", ARROW, "--window_rows=10")
    assert (first["rows"], second["rows"], whole["rows"]) == (140, 280, 280)
    assert (tmp_path / "whole" / "predictions.bin").read_bytes() == (tmp_path / "parts" / "predictions.bin").read_bytes()


def test_refused_rows_are_written_down_with_their_number_and_sent_alone(train, broker, topic, tmp_path):
    rows = make_rows(70, 4)
    rows[3][0], rows[65][2] = "maybe", "1.5"
    messages = [*together(rows, 10, train.columns), b"junk"]
    dead = topic([[]])
    name = make_topic(broker.bootstrap, [messages])
    summary = train(name, "model", ARROW, f"--dead_letter_topic={dead}", "--max_rejected_ratio=1")
    assert (summary["rows"], summary["rejected"]) == (68, 3)
    lines = [json.loads(line) for line in (tmp_path / "model" / "rejected.jsonl").read_text().splitlines()]
    assert [(line["offset"], line["row"], line["reason"]) for line in lines] == [(0, 3, "label"), (6, 5, "number"), (7, 0, "arrow")]
    assert lines[0]["why"] == "click is 'maybe', expected is 0 or 1, true or false"
    letters = read_messages(broker.bootstrap, dead)[0]
    assert [ARROW.texts(letter.value(), train.columns) for letter in letters[:2]] == [rows[3], rows[65]]
    assert letters[2].value() == b"junk"
    headers = [dict(letter.headers()) for letter in letters]
    assert [(h["tfonline.offset"], h["tfonline.row"], h["tfonline.reason"]) for h in headers] == [
        (b"0", b"3", b"label"), (b"6", b"5", b"number"), (b"7", b"0", b"arrow"),
    ]  # fmt: skip


def test_a_topic_of_something_else_is_told_at_once(train, broker):
    name = make_topic(broker.bootstrap, [[b"1\t2\t3\tu\ta"] * 20])
    with pytest.raises(UserError, match=r"of the first 20 rows none is good.*offset 0, arrow \(no Arrow IPC stream\)") as e:
        train(name, "model", ARROW)
    assert e.value.code == 65
    with pytest.raises(UserError, match="--partition_groups is for messages of one row each") as e:
        train(name, "model", ARROW, "--partition_groups=2")
    assert e.value.code == 64


def test_processes_that_decode_are_refused_where_tensorflow_decodes(train, broker):
    topic = make_topic(broker.bootstrap, [[TSV.encode(row, train.columns) for row in make_rows(50, 5)]])
    with pytest.raises(
        UserError, match="--decoder_processes=2 is for messages that Python decodes, and those of tsv are decoded by"
    ):
        train(topic, "model", TSV, "--decoder_processes=2")
