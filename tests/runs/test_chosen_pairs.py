"""Pairs of columns that are chosen: tools/pairs.py finds those that say more than their columns, and the model has them apart."""

import numpy as np
import pytest
from kafka_helpers import make_topic, run_tool

from tfonline.config import parse
from tfonline.lifecycle import UserError
from tfonline.train import run

ROWS = 3000
YAML = """name: t
columns:
  - {name: click, kind: label}
  - {name: a, kind: category}
  - {name: b, kind: category}
  - {name: c, kind: category}
  - {name: d, kind: category}
  - {name: n, kind: integer}
  - {name: at, kind: time, as: [hour, weekday]}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Rows whose label hangs on whether a and d are alike, and on no column by itself; some are none."""
    r = np.random.default_rng(1)
    folder = tmp_path_factory.mktemp("pairs")
    a, b, c, d, n = r.integers(0, 4, (5, ROWS))
    click = r.random(ROWS) < np.where(a % 2 == d % 2, 0.9, 0.1)
    rows = ["\t".join([f"{y:d}", *(f"v{x}" for x in of), str(k), ""]) for y, *of, k in zip(click, a, b, c, d, n, strict=True)]
    (folder / "rows.tsv").write_text("\n".join([*rows[:50], "no row", *rows[50:]]) + "\n")
    (folder / "columns.yaml").write_text(YAML)
    return folder


@pytest.fixture
def flags(folder, tmp_path):
    return [f"--columns={folder}/columns.yaml", "--vocabulary_rows=1024", "--vocabulary_from=stream", "--admit_counters=4096"] + [
        "--oov_buckets=1000", "--batch_size=50", "--deep_learning_rate=0.01", "--cross_buckets=65536", "--cross_partners=2",
        f"--model_dir={tmp_path}/model", "--stop_at=latest",
    ]  # fmt: skip


def train(*flags):
    return run(parse(["", *flags])).summary


def test_the_pair_that_says_something_is_found_and_makes_the_model_better(folder, flags):
    given = f"--input_files={folder}/rows.tsv"
    code, out, err = run_tool("pairs", *flags, given, "--num_pairs=1", "--num_rows=2000")
    assert code == 0, err  # TensorFlow may say something of its own there
    evidence, flag = out.splitlines()
    assert evidence.startswith("# Of 10 pairs in 1,999 rows (besides 1 refused) those that gain most, in log loss: from a*d 0.3")
    assert flag == "--cross_pairs=a*d"
    # In the ring, a has pairs with the columns beside it alone.
    without, found = train(*flags, given, f"{flags[-2]}-without"), train(*flags, given, flag)
    assert found["total"]["auc"] > without["total"]["auc"] + 0.02  # which the embeddings learn, later
    assert found["rows"] == ROWS


def test_the_oldest_rows_of_all_partitions_of_a_topic_are_taken(folder, flags, broker):
    lines = (folder / "rows.tsv").read_bytes().splitlines()
    name = make_topic(broker.bootstrap, [lines[:1500], lines[1500:]])
    stream = f"--topic={name}", f"--bootstrap_servers={broker.bootstrap}"
    code, out, err = run_tool("pairs", *flags, *stream, "--num_pairs=2", "--num_rows=1100")
    assert code == 0, err  # TensorFlow may say something of its own there
    assert "in 1,099 rows" in out
    assert "a*d" in out.splitlines()[1]


def test_another_choice_is_another_model_and_the_order_of_names_is_none(folder, flags):
    given = f"--input_files={folder}/rows.tsv"
    train(*flags, given, "--cross_pairs=a*d,b*n")
    assert train(*flags, given, "--cross_pairs=n*b,d*a")["rows"] == ROWS
    with pytest.raises(UserError, match=r"cross_pairs: the checkpoint has \['a\*d', 'b\*n'\], this run \[\]") as e:
        train(*flags, given)
    assert e.value.code == 78


@pytest.mark.parametrize(
    ("pairs", "why"),
    [
        ("a*e", r"names e: no column that has pairs\. Expected are columns of one value each.*: n, a, b, c, d"),
        ("a*at", "names at: no column that has pairs"),
        ("a*click", "names click: no column"),
        ("a*a", r"has 'a\*a'\. Expected two columns with a \* between them"),
        ("a*b,", "has ''"),
        ("a-b", "has 'a-b'"),
        ("a*b*c", r"has 'a\*b\*c'"),
    ],
)
def test_what_is_no_pair_of_columns_is_said(folder, flags, pairs, why):
    with pytest.raises(UserError, match=why) as e:
        train(*flags, f"--input_files={folder}/rows.tsv", f"--cross_pairs={pairs}")
    assert e.value.code == 64


def test_without_buckets_there_are_none(flags):
    with pytest.raises(UserError, match="--cross_pairs goes with --cross_buckets"):
        parse(["", *flags, "--cross_buckets=0", "--cross_pairs=a*b"])


def test_of_few_rows_none_is_chosen(folder, flags, tmp_path):
    few = tmp_path / "few.tsv"
    few.write_text("".join(f"{line}\n" for line in (folder / "rows.tsv").read_text().splitlines()[:900]))
    code, out, err = run_tool("pairs", *flags, f"--input_files={few}")
    assert (code, out) == (65, "")
    assert "the stream has 899 good rows, and 1 that are none. Expected are 1,000 good ones at least" in err
