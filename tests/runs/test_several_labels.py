"""Rows with two labels, click and conversion, of which the second may be missing: learned, measured, gated, resumed and served."""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from checkpoint_helpers import saved, saved_parts
from inspect_checkpoint import main as inspect_checkpoint
from report_page import page
from report_quality import for_label
from report_read import read_model
from tensorboard_helpers import events_of, pictures_of

from tfonline.config import parse
from tfonline.evaluate.progressive import PREDICTION, exact_auc, log_losses, prediction_of, sigmoid
from tfonline.features.parse import Parse
from tfonline.features.schema import Schema, load_schema
from tfonline.formats import find
from tfonline.formats.reasons import REASONS
from tfonline.keep import checkpoint_contents
from tfonline.lifecycle import UserError
from tfonline.publish.by_label import GateByLabel, make_delta_gate, make_gate, make_regression
from tfonline.publish.gate import Limits
from tfonline.train import run

COLUMNS = """
name: shop
columns:
  - {name: click, kind: label}
  - {name: conversion, kind: label, optional: true}
  - {name: item, kind: category}
  - {name: user, kind: category}
  - {name: last, kind: categories, shares: item, max_length: 3}
"""
FLAGS = [
    "--network=esmm", "--history", "--vocabulary_rows=256", "--admit_after=1", "--admit_counters=1024", "--oov_buckets=20",
    "--window_rows=200", "--batch_size=50", "--deep_layers=16", "--embedding_dim=4", "--stop_at=latest", "--save_predictions",
    "--deep_learning_rate=0.01", "--gate_rows=300", "--gate_calibration=0", "--export_every_windows=1",
    "--checkpoint_every_steps=4", "--drift_rows=1000", "--metrics_by=item",
    "--metric_rows=1000000000",
]  # fmt: skip
DTYPE = prediction_of(PREDICTION, ("conversion",))


def rows(number: int) -> list[str]:
    r, lines = np.random.default_rng(7), []
    for _ in range(number):
        item, user, last = int(r.integers(0, 20)), int(r.integers(0, 20)), r.integers(0, 20, r.integers(0, 4)).tolist()
        click = r.random() < (0.7 if item % 2 else 0.2)
        conversion = int(click and r.random() < (0.8 if user % 2 else 0.1))
        known = "" if r.random() < 0.2 else conversion
        lines.append(f"{int(click)}\t{known}\ti{item}\tu{user}\t{'|'.join(f'i{n}' for n in last)}\n")
    return lines


def trained(folder: pathlib.Path, lines: list[str], *more: str) -> dict:
    folder.mkdir(exist_ok=True)
    (folder / "columns.yaml").write_text(COLUMNS)
    (folder / "rows").write_text("".join(lines))
    files = [f"--columns={folder}/columns.yaml", f"--input_files={folder}/rows", f"--model_dir={folder}/model"]
    return run(parse(["", *files, *FLAGS, *more])).summary


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    return folder, trained(folder, rows(1000), f"--export_dir={folder}/export")


def test_each_label_is_measured_over_the_rows_that_have_it(shop):
    folder, summary = shop
    scored = np.fromfile(folder / "model/predictions.bin", DTYPE)
    known = ~np.isnan(scored["label_conversion"])
    assert len(scored) == 1000
    assert 700 < known.sum() < 900
    for scope, of, suffix in (("total", slice(None), ""), ("total_conversion", known, "_conversion")):
        label, logit = scored[f"label{suffix}"][of], scored[f"logit{suffix}"][of]
        assert summary[scope]["rows"] == len(label)
        assert summary[scope]["log_loss"] == pytest.approx(log_losses(logit, label).mean(), rel=1e-5)
        assert summary[scope]["auc"] == pytest.approx(exact_auc(logit, label), abs=1e-3)
        assert summary[scope]["calibration"] == pytest.approx(sigmoid(logit).mean() / label.mean(), rel=1e-5)
        assert exact_auc(logit[len(label) // 2 :], label[len(label) // 2 :]) > 0.65
    assert (scored["logit_conversion"] <= scored["logit"] + 1e-5).all()  # pCTCVR is pCTR times a probability


def test_each_label_has_its_own_drift_of_the_model(shop):
    folder, summary = shop
    assert summary["drift"]["by_label"] == {"conversion": {"model": "", "model_for": ""}}
    assert "train/drift/model_more_clicks_conversion" in events_of(folder / "model/tensorboard")
    known = int(summary["total_conversion"]["rows"])
    drift = saved_parts(folder / "model")["drift"]
    of_labels = [drift["model"], drift["others"]["conversion"]]
    assert [state["rows"] + state["open"][0] for state in of_labels] == [1000, known]


def test_each_label_is_measured_by_a_columns_value(shop):
    folder, summary = shop
    items = np.array([line.split("\t")[2] for line in rows(1000)])
    scored = np.fromfile(folder / "model/predictions.bin", DTYPE)
    for suffix in ("", "_conversion"):
        label, logit = scored[f"label{suffix}"], scored[f"logit{suffix}"]
        found, known = summary[f"metrics_by{suffix}"], ~np.isnan(label)
        for value in found["values"]:
            of_value = (items == value["value"]) & known
            assert value["rows"] == pytest.approx(of_value.sum(), rel=1e-4)
            assert value["calibration"] == pytest.approx(sigmoid(logit[of_value]).sum() / label[of_value].sum(), rel=1e-4)
        assert (found["column"], len(found["values"])) == ("item", 10)
        of_items = [(items == item) & known for item in np.unique(items)]
        both = [of_item for of_item in of_items if 0 < label[of_item].mean() < 1]
        gauc = np.average([exact_auc(logit[of], label[of]) for of in both], weights=[of.sum() for of in both])
        assert found["gauc"] == pytest.approx(gauc, abs=0.02)
        assert f"train/by_item{suffix}/gauc" in events_of(folder / "model/tensorboard")


def test_tensorboard_has_pictures_of_each_labels_scores(shop):
    assert pictures_of(shop[0] / "model/tensorboard", "running") == ["scores/reliability", "scores/reliability_conversion"]


def test_the_page_of_a_run_has_each_label(shop):
    folder, summary = shop
    model = read_model(folder / "model")
    for scope, counts in zip(("running", "total"), model.saved.others["conversion"], strict=True):
        assert counts.report() == pytest.approx(summary[f"{scope}_conversion"])
    assert model.other_labels == ["conversion"]
    charts = [
        "AUC",
        "Log loss, nats",
        "Reliability by tenths of the rows: bars are 95 % intervals",
        "Drift of the model: 8 is an alarm",
    ]
    charts += ["AUC within the values of item (GAUC)"]
    written = page(model)
    for title in charts:
        for label in ("", "conversion"):
            assert f'aria-label="{for_label(title, label)}"' in written
    assert ">each window</text>" in written.partition(for_label("AUC", "conversion"))[2]


def test_a_checkpoint_is_shown_with_the_metrics_of_each_label(shop, capsys):
    folder, summary = shop
    assert inspect_checkpoint([str(folder / "model")]) == 0
    metrics = [line.split() for line in capsys.readouterr().out.partition("  metrics ")[2].partition("\n\n")[0].splitlines()[1:]]
    assert ["conversion"] in metrics
    for scope, lines in (("total", metrics[:6]), ("total_conversion", metrics[7:])):
        assert {name: float(value.replace(",", "")) for name, value, _ in lines} == pytest.approx(summary[scope], abs=1e-3)


def test_a_checkpoint_that_knows_the_first_label_alone_goes_on(tmp_path, monkeypatch, capfd):
    def of_the_first_label(contract, parts):
        texts = write(contract, parts)
        held = json.loads(texts[checkpoint_contents.STATE])
        drift, by_value = (held["parts"][name]["state"] for name in ("drift", "metrics_by_value"))
        del drift["others"], drift["inputs"]["wrong_of"], by_value["others"]
        for column in drift["inputs"]["columns"].values():
            del column["errors_of"]
        return {**texts, checkpoint_contents.STATE: json.dumps(held)}

    write = checkpoint_contents.write
    with monkeypatch.context() as before:
        before.setattr(checkpoint_contents, "write", of_the_first_label)
        trained(tmp_path, rows(1000)[:400])
    capfd.readouterr()
    summary = trained(tmp_path, rows(1000)[:600])
    said = capfd.readouterr().out
    assert "drift of the model begins anew for conversion: the checkpoint has none" in said
    assert "--metrics_by=item begins anew for conversion: the checkpoint has none" in said
    assert sum(value["rows"] for value in summary["metrics_by_conversion"]["values"]) < 200
    drift = saved_parts(tmp_path / "model")["drift"]
    clicks, conversions = (state["rows"] + state["open"][0] for state in (drift["model"], drift["others"]["conversion"]))
    assert clicks == summary["rows"] == 600
    assert 100 < conversions < 200  # of the last 200 rows those that have one


def test_a_resumed_run_is_equal_to_the_bit(tmp_path, shop):
    trained(tmp_path, rows(1000)[:400])
    trained(tmp_path, rows(1000))
    tensors, undisturbed = saved(tmp_path / "model")[0], saved(shop[0] / "model")[0]
    assert [name for name in tensors if not np.array_equal(tensors[name], undisturbed[name])] == []
    files = [(folder / "model/predictions.bin").read_bytes() for folder in (tmp_path, shop[0])]
    assert files[0] == files[1]


def test_each_label_is_judged_and_served(shop):
    folder, _ = shop
    newest = max(folder.glob("export/[0-9]*"), key=lambda path: int(path.name))
    manifest = json.loads((newest / "manifest.json").read_text())
    assert manifest["labels"] == ["click", "conversion"]
    assert manifest["metrics"]["auc_conversion"] > 0.6
    signatures = tf.saved_model.load(str(newest)).signatures
    whole, unlabelled = rows(3), [line.split("\t", 2)[2] for line in rows(3)]
    got = signatures["serving_default"](message=tf.constant([line.strip("\n") for line in whole]))
    same = signatures["unlabelled"](message=tf.constant([line.strip("\n") for line in unlabelled]))
    assert {*got} == {
        "logit",
        "probability",
        "reason",
        *(f"{of}_{h}" for of in ("logit", "probability") for h in manifest["labels"]),
    }
    for name in got:
        np.testing.assert_array_equal(got[name], same[name])
    np.testing.assert_array_equal(got["probability"], got["probability_click"])
    assert (got["probability_conversion"].numpy() < got["probability_click"].numpy()).all()


@pytest.mark.parametrize("flag", ["--keep_negatives=0.5", "--average_rows=100", "--label_topic=outcomes", "--label_weights=buy:2"])
def test_what_goes_with_one_label_is_refused(tmp_path, flag):
    topics = ["--bootstrap_servers=localhost:1", "--topic=t", "--input_files="] if "topic" in flag else []
    with pytest.raises(UserError, match=f"{flag.partition('=')[0]}.* and .*columns.* click, conversion") as e:
        trained(tmp_path, rows(1), flag, *topics)
    assert e.value.code == 64


@pytest.mark.parametrize("form", ["tsv", "json_objects"])
def test_a_label_that_may_be_missing_is_neither_0_nor_1(tmp_path, form):
    (tmp_path / "columns.yaml").write_text(COLUMNS)
    schema = load_schema(str(tmp_path / "columns.yaml"))
    messages = ["1\t\ti\tu\t", "0\t1\ti\tu\t", "\t1\ti\tu\t", "1\t2\ti\tu\t"]
    if form == "json_objects":
        messages = [
            '{"click": 1, "conversion": null}',
            '{"click": 0, "conversion": 1}',
            '{"conversion": 1}',
            '{"click": 1, "conversion": 2}',
        ]
    fields = Parse(schema, find(form))(tf.constant(messages))
    np.testing.assert_array_equal(fields.values["label"][:2], [[1, np.nan], [0, 1]])
    assert [REASONS[r] for r in fields.reason] == ["", "", "label", "label"]
    with pytest.raises(ValueError, match="click is optional; expected is that the first label of a row is always known"):
        Schema.model_validate({"name": "t", "columns": [{"name": "click", "kind": "label", "optional": True}]})


def test_a_gate_lets_no_label_become_worse():
    limits = Limits(gate_rows=1000, gate_max_regression=0.01, gate_min_auc=0, gate_calibration=0.3)
    gate, deltas, regression = make_gate(limits, "ab"), make_delta_gate(limits, "ab"), make_regression(0.01, 2000, "ab")
    r = np.random.default_rng(1)
    labels = (r.random((2000, 2)) < 0.3).astype(np.float32)
    good = np.full((2000, 2), -0.85, np.float32)
    bad = good + np.array([0, 2], np.float32)  # of the second label
    labels[::3, 1] = np.nan
    gate.add(labels, bad, None, kept="rows")
    gate.compare(lambda kept: good if kept == ["rows"] else None)
    report = gate.copy().report()
    known = labels[~np.isnan(labels[:, 1]), 1]
    assert report["log_loss_b"] == pytest.approx(log_losses(np.full_like(known, 1.15), known).mean(), rel=1e-5)
    assert [why[:22] for why in gate.refusals(report)] == ["b: its log loss is abo", "b: its calibration is "]
    for part in np.split(np.arange(2000), 4):
        deltas.add(labels[part], bad[part], good[part], None)
        regression.add(labels[part], bad[part], good[part])
    assert deltas.refusal().startswith("b: its log loss is above")
    assert regression.worse().by > 0.3
    assert isinstance(gate, GateByLabel)
    assert not isinstance(make_gate(limits, ("a",)), GateByLabel)


def test_several_compiled_steps_a_call_learn_the_same(tmp_path, shop):
    trained(tmp_path, rows(1000), "--jit_compile", "--steps_per_call=3")
    found, undisturbed = (np.fromfile(folder / "model/predictions.bin", DTYPE) for folder in (tmp_path, shop[0]))
    for name in ("logit", "logit_conversion"):
        np.testing.assert_allclose(found[name], undisturbed[name], atol=1e-3)
