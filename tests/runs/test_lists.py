"""Runs whose rows hold lists: as sure as any other, whatever the device, the calls and the number of replicas."""

import json
import pathlib

import numpy as np
import pytest
from checkpoint_helpers import saved
from kafka_helpers import run_tool

from tfonline.config import parse
from tfonline.evaluate.progressive import PREDICTION, exact_auc
from tfonline.train import run

COLUMNS = """
name: feed
columns:
  - {name: click, kind: label}
  - {name: item, kind: category}
  - {name: price, kind: number}
  - {name: ip, kind: category, hash_buckets: 20}
  - {name: last, kind: categories, shares: item, max_length: 4, combiner: sqrtn}
  - {name: tags, kind: categories, hash_buckets: 30}
"""
ROWS = 480
FLAGS = [
    "--vocabulary_rows=64", "--admit_after=2", "--expire_rows=50", "--admit_counters=1024", "--oov_buckets=20",
    "--cross_buckets=500", "--history", "--average_rows=100", "--window_rows=96", "--batch_size=32", "--deep_layers=8,4",
    "--embedding_dim=4", "--message_format=json_objects", "--stop_at=latest", "--save_predictions", "--numeric=bucket",
    "--deep_learning_rate=0.02",
]  # fmt: skip


def rows(number: int) -> str:
    r = np.random.default_rng(number)
    lines = []
    for _ in range(number):
        item, last, tags = int(r.integers(0, 40)), r.integers(0, 40, r.integers(0, 7)).tolist(), r.integers(0, 9, 2)
        click = r.random() < (0.9 if tags.min() < 3 else 0.1)
        row = {"click": bool(click), "item": item, "last": last, "tags": [f"t{n}" for n in tags]}
        lines.append(json.dumps(row | {"price": round(float(r.gamma(2)), 2), "ip": f"10.0.0.{r.integers(0, 90)}"}))
    return "\n".join(lines) + "\n"


def trained(folder: pathlib.Path, text: str, *more: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Each tensor of the newest checkpoint, and what was scored."""
    folder.mkdir(exist_ok=True)
    (folder / "columns.yaml").write_text(COLUMNS)
    (folder / "rows").write_text(text)
    files = [f"--columns={folder}/columns.yaml", f"--input_files={folder}/rows", f"--model_dir={folder}/model"]
    run(parse(["", *files, *FLAGS, *more]))
    return saved(folder / "model")[0], np.fromfile(folder / "model" / "predictions.bin", PREDICTION)


def of_vocabulary(tensors: dict[str, np.ndarray]) -> dict[str, list]:
    return {name: t.tolist() for name, t in tensors.items() if "vocabulary" in name or "admission" in name}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("plain"), rows(ROWS))


def test_a_resumed_run_is_equal_to_the_bit(tmp_path, plain):
    trained(tmp_path, "".join(rows(ROWS).splitlines(keepends=True)[:192]))
    tensors, scores = trained(tmp_path, rows(ROWS))
    assert np.array_equal(scores, plain[1])
    assert [name for name in tensors if not np.array_equal(tensors[name], plain[0][name])] == []


def test_what_a_checkpoint_knows_of_a_value_of_a_list(tmp_path):
    trained(tmp_path, rows(ROWS))
    made = [json.loads(line) for line in rows(ROWS).splitlines()]
    values = [str(value) for row in made for value in (row["item"], *row["last"][-4:])]
    often = max({*values}, key=values.count)
    answers = []
    for column in ("item", "last"):
        code, out, _ = run_tool("inspect_checkpoint", tmp_path / "model", f"--id={column}={often}", "--json")
        answers.append({**json.loads(out), "code": code})
    assert answers[0] == answers[1]  # it shares the ids
    assert (answers[0]["code"], answers[0]["row"]) == (0, True)
    code, _, err = run_tool("inspect_checkpoint", tmp_path / "model", "--id=tags=t1")
    assert (code, "with one of the columns item, last" in err) == (64, True)


def test_several_steps_a_call_change_nothing(tmp_path, plain):
    tensors, scores = trained(tmp_path, rows(ROWS), "--steps_per_call=3")
    assert np.array_equal(scores, plain[1])
    assert [name for name in tensors if not np.array_equal(tensors[name], plain[0][name])] == []


@pytest.mark.parametrize("flag", ["--num_replicas=2", "--jit_compile"])
def test_two_replicas_and_a_compiled_run_learn_the_same(tmp_path, plain, flag):
    tensors, scores = trained(tmp_path, rows(ROWS), flag)
    assert of_vocabulary(tensors) == of_vocabulary(plain[0])
    np.testing.assert_allclose(scores["logit"], plain[1]["logit"], atol=1e-4)


def test_values_of_lists_are_learned_from(plain):
    """The label depends on a list alone."""
    assert exact_auc(plain[1]["logit"][ROWS // 2 :], plain[1]["label"][ROWS // 2 :]) > 0.7
