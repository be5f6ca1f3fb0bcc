"""The same rows in several formats are the same rows: trained, published and scored."""

import base64
import functools
import json
import pathlib

import models
import numpy as np
import pytest
import tensorflow as tf
from kafka_helpers import make_topic
from serving_helpers import serving

from tfonline.config import parse
from tfonline.evaluate.progressive import PREDICTION, PREDICTION_IN_MESSAGE
from tfonline.features.schema import load_schema
from tfonline.formats import FORMATS, canonical
from tfonline.formats.reasons import REASONS
from tfonline.publish.versions import Versions
from tfonline.train import run

COLUMNS = """
name: shop
columns:
  - {name: click, kind: label, path: labels.click}
  - {name: item_price, kind: number, path: item.price}
  - {name: age, kind: integer, default: 30}
  - {name: user_id, kind: category}
  - {name: device_ip, kind: category, hash_buckets: 50}
  - {name: at, kind: time}
  - {name: last_users, kind: categories, shares: user_id, max_length: 3, path: user.last}
  - {name: tags, kind: categories, combiner: sum, default: none}
  - {name: importance, kind: weight, maximum: 2}
  - {name: request, kind: ignore}
"""
ROWS, BAD = 600, 7
FLAGS = [
    "--vocabulary_rows=64", "--admit_after=2", "--admit_counters=1024", "--oov_buckets=20", "--cross_buckets=500", "--history",
    "--window_rows=100", "--batch_size=50", "--deep_layers=8,4", "--embedding_dim=4", "--stop_at=latest", "--save_predictions",
    "--export_every_windows=3", "--gate_rows=50", "--gate_min_auc=0", "--gate_calibration=0", "--gate_max_regression=9",
]  # fmt: skip


def make_rows() -> list[list[str]]:
    """Texts without a comma or a quote, which all formats can write; some are missing."""
    r = np.random.default_rng(3)
    rows = []
    for i in range(ROWS):
        user, price = r.integers(0, 30), round(float(r.gamma(2)), 3)
        click = int(r.random() < (0.7 if user % 3 else 0.2))
        row = [
            str(click),
            str(price),
            str(r.integers(0, 80)),
            f"u{user}",
            f"10.0.0.{r.integers(0, 200)}",
            str(1_700_000_000 + 977 * i),
            "|".join(f"u{n}" for n in r.integers(0, 30, r.integers(0, 6))),
            "|".join(f"t{n}" for n in r.integers(0, 9, r.integers(0, 3))),
            str(r.choice([0.5, 1, 3])),
        ]
        rows.append([t if j == 0 or (i + j) % 9 else "" for j, t in enumerate(row)] + [f"r{i}"])
    return rows


def messages_of(form, columns) -> list[bytes]:
    """The rows as messages; one of them is bad."""
    rows = make_rows()
    rows[BAD][0] = "2"
    return [form.encode(row, columns) for row in rows]


def trained(folder: pathlib.Path, message_format: str, broker=None) -> tuple[np.ndarray, pathlib.Path]:
    """What was scored, and the newest version. What is no line comes from a topic, and the file of rows has it as TSV."""
    (folder / "columns.yaml").write_text(COLUMNS)
    columns = load_schema(str(folder / "columns.yaml")).columns
    form = FORMATS[message_format]
    lines = messages_of(form if form.lines else FORMATS["tsv"], columns)
    (folder / "rows").write_bytes(b"\n".join(lines) + b"\n")
    about = {"columns": folder / "columns.yaml", "model_dir": folder / "model"}
    if form.lines:
        about["input_files"] = folder / "rows"
    else:
        about |= {"topic": make_topic(broker.bootstrap, [messages_of(form, columns)]), "bootstrap_servers": broker.bootstrap}
    about |= {"export_dir": folder / "models", "message_format": message_format}
    summary = run(parse(["", *(f"--{name}={value}" for name, value in about.items()), *FLAGS])).summary
    assert (summary["rows"], summary["rejected"]) == (ROWS - 1, 1)
    record = json.loads((folder / "model" / "rejected.jsonl").read_text())
    assert (record["offset"], record["reason"]) == (BAD, "label")
    versions = Versions(folder / "models")
    scored = np.fromfile(folder / "model" / "predictions.bin", PREDICTION_IN_MESSAGE if form.many else PREDICTION)
    return scored[list(PREDICTION.names)].astype(PREDICTION), versions.path(versions.numbers[-1])


@pytest.fixture(scope="module")
def of_format(tmp_path_factory, broker):
    """Trains from messages of a format, once each: what was scored, the newest version, the folder."""

    @functools.cache
    def made(message_format: str) -> tuple[np.ndarray, pathlib.Path, pathlib.Path]:
        folder = tmp_path_factory.mktemp(message_format)
        return *trained(folder, message_format, broker), folder

    return made


@pytest.mark.parametrize("message_format", [name for name in FORMATS if name != "tsv"])
def test_a_format_gives_the_scores_of_tsv_to_the_bit(message_format, capsys, of_format):
    scored, tsv_version, tsv_folder = of_format("tsv")
    of_other, version, folder = of_format(message_format)
    assert np.array_equal(of_other, scored)

    columns = load_schema(str(folder / "columns.yaml")).columns
    messages = canonical(FORMATS[message_format], messages_of(FORMATS[message_format], columns), columns)
    rows = (tsv_folder / "rows").read_bytes().splitlines()
    wanted, found = (
        tf.saved_model.load(str(path)).signatures["serving_default"](message=tf.constant(given))["logit"].numpy()
        for path, given in ((tsv_version, rows), (version, messages))
    )
    assert np.array_equal(found, wanted, equal_nan=True)
    assert np.flatnonzero(np.isnan(found)).tolist() == [BAD]

    capsys.readouterr()
    printed = []
    for at in (tsv_folder, folder):
        assert models.main(["score", str(at / "models"), str(at / "rows")]) == 0
        printed.append(capsys.readouterr())
    assert printed[0] == printed[1]
    assert f"rows={ROWS} bad=1 labelled={ROWS - 1}" in printed[1].err
    assert models.main(["verify", str(folder / "models")]) == 0


def test_the_server_takes_an_object_as_in_the_topic(tmp_path, of_format):
    _, version, folder = of_format("json_objects")
    lines = (folder / "rows").read_bytes().splitlines()[:50]
    columns = load_schema(str(folder / "columns.yaml")).columns
    score = tf.saved_model.load(str(version)).signatures["serving_default"]
    wanted = score(message=tf.constant(canonical(FORMATS["json_objects"], lines, columns)))["probability"].numpy()
    with serving(folder / "models", tmp_path / "log") as server:
        server.wait_for("serving version")
        objects = [json.loads(line) for line in lines]
        status, answer = server.predict({"instances": [*objects, {"item": 5}, "[]"]})
        assert status == 200
        *found, wrong, no_object = answer["predictions"]
        good = [p["probability"] for i, p in enumerate(found) if i != BAD]
        # The server scores another number of rows at once, which may change the last bit.
        np.testing.assert_allclose(good, np.delete(wanted, BAD), rtol=1e-6)
        # Who asks for a score does not know the label; one that no row may have does not matter.
        assert found[BAD]["probability"] > 0
        assert [REASONS[p["reason"]] for p in (wrong, no_object)] == ["type", "json"]
        assert wrong["probability"] is None
        assert example_is_scored(server) == ("json_objects", True)


def example_is_scored(server) -> tuple[str, bool]:
    """Asks for the score of the row that the page begins with; its format, and whether it is an object."""
    example = server.ask("GET", "/versions")[2]["served"]["example"]
    row = json.loads(example["text"]) if example["object"] else example["text"]
    status, answer = server.predict({"instances": [row]})
    assert (status, answer["predictions"][0]["reason"]) == (200, 0)
    return example["format"], example["object"]


@pytest.mark.parametrize("message_format", ["avro", "protobuf"])
def test_the_server_takes_bytes_and_objects_of_a_binary_format(tmp_path, message_format, of_format):
    _, version, folder = of_format(message_format)
    columns = load_schema(str(folder / "columns.yaml")).columns
    messages = [m for i, m in enumerate(messages_of(FORMATS[message_format], columns)[:50]) if i != BAD]
    objects = [json.loads(m) for i, m in enumerate(messages_of(FORMATS["json_objects"], columns)[:50]) if i != BAD]
    score = tf.saved_model.load(str(version)).signatures["serving_default"]
    wanted = score(message=tf.constant(canonical(FORMATS[message_format], messages, columns)))["probability"].numpy()
    with serving(folder / "models", tmp_path / "log") as server:
        server.wait_for("serving version")
        as_bytes = [{"b64": base64.b64encode(message).decode()} for message in messages]
        for instances in (as_bytes, objects):
            status, answer = server.predict({"instances": [*instances, {"b64": "/////w=="}, {"item": 5}]})
            assert status == 200
            *found, damaged, wrong = answer["predictions"]
            np.testing.assert_allclose([p["probability"] for p in found], wanted, rtol=1e-6)
            assert [REASONS[p["reason"]] for p in (damaged, wrong)] == [message_format, "type"]
        assert example_is_scored(server) == (message_format, True)
