"""tools/synthetic_streams.py: rows that their columns take, the same for the same seed, with a signal of known strength."""

import numpy as np
import pytest
import tensorflow as tf
from kafka_helpers import ROOT, run_tool
from synthetic_streams import STREAMS

from tfonline.evaluate.progressive import exact_auc
from tfonline.features.parse import Parse
from tfonline.features.schema import load_schema
from tfonline.formats import find


def lines(name, *args):
    return [line for block in STREAMS[name].rows(*args) for line in block.lines]


@pytest.mark.parametrize("name", STREAMS)
def test_a_row_depends_on_the_seed_and_its_number_alone(name):
    ten_thousand = lines(name, 10_000, 1, 0)
    assert lines(name, 500, 1, 0) == ten_thousand[:500]
    assert lines(name, 300, 1, 8_100) == ten_thousand[8_100:8_400]  # across the end of a block
    assert lines(name, 500, 2, 0) != ten_thousand[:500]


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("message_format", ["tsv", "json_objects"])
def test_each_row_is_one_that_the_columns_take(name, message_format):
    schema = load_schema(str(ROOT / "configs" / STREAMS[name].columns))
    rows = [line.decode().split("\t") for line in lines(name, 2000, 1, 0)]
    messages = [find(message_format).encode(row, schema.columns) for row in rows]
    fields = Parse(schema, find(message_format))(tf.constant(messages))
    assert not fields.reason.numpy().any()
    made = np.concatenate([block.label for block in STREAMS[name].rows(2000, 1, 0)])
    np.testing.assert_array_equal(fields.values["label"][:, 0], made)


@pytest.mark.parametrize(("name", "auc", "rate"), [("avazu", 0.81, 0.16), ("feed", 0.75, 0.22)])
def test_the_signal_is_as_strong_as_it_says(name, auc, rate):
    blocks = list(STREAMS[name].rows(50_000, 3, 0))
    probability, label = (np.concatenate([getattr(b, field) for b in blocks]) for field in ("probability", "label"))
    logit = np.log(probability / (1 - probability)).astype(np.float32)
    assert exact_auc(logit, label.astype(np.float32)) == pytest.approx(auc, abs=0.02)
    assert label.mean() == pytest.approx(rate, abs=0.02)


def test_the_tool_writes_them(tmp_path):
    code, _, err = run_tool("synthetic", "--data=feed", "--rows=50", "--seed=2", f"--output={tmp_path / 'rows'}")
    assert (code, "bayes_auc=" in err) == (0, True)
    assert (tmp_path / "rows").read_bytes().splitlines() == lines("feed", 50, 2, 0)
    code, _, err = run_tool("synthetic", "--data=feed", "--rows=50", "--id_lifetime=5")
    assert (code, "--id_lifetime is for --data=criteo" in err) == (64, True)
