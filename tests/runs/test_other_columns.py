"""The tuned settings on other data than those that they were tuned for: few columns, and very many."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tfonline.config import parse
from tfonline.features.column import Column
from tfonline.features.parse import Parse
from tfonline.features.schema import Schema, load_schema
from tfonline.formats import find, separated
from tfonline.formats.reasons import REASONS
from tfonline.keep.contract import check_contract
from tfonline.lifecycle import UserError
from tfonline.train import run


def make(folder: pathlib.Path, num_columns: int, num_rows: int) -> list[str]:
    """Numbers and categories, of which five say something of the label. Writes rows and their YAML; returns flags."""
    r = np.random.default_rng(1)
    logit, columns, said = np.full(num_rows, -1.2), [], range(0, num_columns, num_columns // 5)
    for i in range(num_columns):
        if i % 3:
            ids = np.minimum((r.pareto(1.0, num_rows) * 3).astype(int), 300)
            effect, texts = np.random.default_rng(i).standard_normal(301)[ids], [f"v{n}" for n in ids]
        else:
            numbers = r.lognormal(1, 1, num_rows)
            effect, texts = np.log(numbers) - 1, [f"{x:.3f}" for x in numbers]
        logit += 0.8 * effect * (i in said)
        columns.append(texts)
    labels = (r.random(num_rows) < 1 / (1 + np.exp(-logit))).astype(int)
    (folder / "rows").write_text("".join("\t".join(row) + "\n" for row in zip(map(str, labels), *columns, strict=True)))
    kinds = "".join(f"  - {{name: x{i}, kind: {'category' if i % 3 else 'number'}}}\n" for i in range(num_columns))
    (folder / "columns.yaml").write_text(f"name: t\ncolumns:\n  - {{name: y, kind: label}}\n{kinds}")
    return [f"--columns={folder}/columns.yaml", f"--input_files={folder}/rows", f"--model_dir={folder}/model"]


@pytest.mark.parametrize(("num_columns", "num_rows"), [(5, 4000), (300, 4000)])
def test_the_tuned_settings_beat_the_trivial_predictor(tmp_path, num_columns, num_rows, capfd):
    flags = make(tmp_path, num_columns, num_rows)
    summary = run(parse(["", "--flagfile=configs/growing.flags", *flags, "--stop_at=latest", "--admit_counters=65536"])).summary
    assert summary["rows"] == num_rows
    assert summary["total"]["ne"] < 1
    out, err = capfd.readouterr()
    assert "DFA" not in out + err, "a pattern is too long for RE2"


TEXTS = [
    "1\ta\t5\t0.5\tz",
    "0\t\t\t\t",
    "2\ta\t5\t1\t",
    "1\ta\tx\tx\t",
    "1\ta\t5",
    "1\ta\t5\t1\t\t",
    "",
    "1\ta\r\t5\t1\t",
    "x\ta\tx\t1\t",
]


def test_rows_of_many_columns_are_checked_as_those_of_few(monkeypatch):
    columns = [("y", "label"), ("a", "category"), ("b", "integer"), ("c", "number"), ("d", "ignore")]
    schema = Schema.model_validate({"name": "t", "columns": [{"name": name, "kind": kind} for name, kind in columns]})
    rows = tf.constant([*(text.encode() for text in TEXTS), b"1\ta\t5\t1\t\xff", *(text.encode() for text in TEXTS[:2])])
    few = {name: Parse(schema, find(name))(rows) for name in ("tsv", "json")}
    monkeypatch.setattr(separated, "_LONGEST_PATTERN", 0)
    for name, expected in few.items():
        tf.nest.map_structure(lambda a, b: np.testing.assert_array_equal(a, b), Parse(schema, find(name))(rows), expected)
    assert len({REASONS[r] for r in few["tsv"].reason}) == 6


def test_only_so_many_columns_have_pairs(tmp_path):
    from tfonline.features.dictionaries import Dictionaries
    from tfonline.features.pipeline import Features

    make(tmp_path, 30, 10)
    schema = load_schema(str(tmp_path / "columns.yaml"))
    features = Features(schema, Dictionaries.without_values(schema), "bucket", oov_buckets=50, cross_buckets=1000, most_crossed=22)
    assert (features.spec.num_crossed, features.spec.width("crosses")) == (22, 22 * 21 // 2)
    rows = (tmp_path / "rows").read_bytes().splitlines()
    before = features(tf.constant(rows)).features["crosses"].numpy()
    assert _changes(features, schema, rows, before, schema.columns_of("category")) == 20  # all categories, then numbers
    assert _changes(features, schema, rows, before, schema.columns_of("number")) == 2


def _changes(features, schema: Schema, rows: list[bytes], before: np.ndarray, columns: tuple[Column, ...]) -> int:
    """Of how many of these columns another value gives other pairs."""
    found = 0
    for column in columns:
        fields = [row.split(b"\t") for row in rows]
        for row in fields:
            row[schema.index(column.name)[0]] = b"99999"
        found += bool((features(tf.constant([b"\t".join(row) for row in fields])).features["crosses"].numpy() != before).any())
    return found


def test_a_checkpoint_from_when_all_columns_had_pairs_goes_on_where_they_are_few():
    wanted = {"columns": ["a"] * 40, "cross_buckets": 1000, "cross_fields": 64}
    check_contract("model", {"columns": ["a"] * 40, "cross_buckets": 1000}, wanted)
    many = {"columns": ["a"] * 70}
    check_contract("model", {**many, "cross_buckets": 0}, {**wanted, **many, "cross_buckets": 0})
    with pytest.raises(UserError, match="cross_fields: the checkpoint has 'all', this run 64"):
        check_contract("model", {**many, "cross_buckets": 1000}, {**wanted, **many})
    check_contract("model", {**many, "cross_buckets": 1000}, {**wanted, **many, "cross_fields": 70})


def test_a_checkpoint_from_when_each_column_had_pairs_with_all_says_so():
    saved = {"columns": ["a"] * 40, "cross_buckets": 1000, "cross_fields": 64}
    check_contract("model", saved, {**saved, "cross_partners": 0})
    with pytest.raises(UserError, match="cross_partners: the checkpoint has 0, this run 10"):
        check_contract("model", saved, {**saved, "cross_partners": 10})
