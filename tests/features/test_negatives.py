"""--keep_negatives: which rows are kept, how batches are cut of them, and that the model speaks of all rows all the same."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
from pipeline_helpers import elements_of
from rows import SMALL_SCHEMA

from tfonline.config import of_flags
from tfonline.features.batch import Examples
from tfonline.features.dictionaries import Dictionaries
from tfonline.features.negatives import Negatives
from tfonline.features.pipeline import Features
from tfonline.features.schema import Schema
from tfonline.formats import FORMATS
from tfonline.formats.reasons import REASONS
from tfonline.lifecycle import UserError
from tfonline.model.learner import make_learner
from tfonline.model.tables.replicas import make_strategy
from tfonline.stream.raw import Origin

BATCH = 8
# Every fifth row is a click.
ROWS = [[str(int(i % 5 == 0)), str(i), "", f"a{i % 5}", f"b{i}"] for i in range(300)]


def origin(offsets, partition=3):
    return Origin(
        *(
            tf.constant(x, dtype)
            for x, dtype in ((np.full(len(offsets), partition), "int32"), (offsets, "int64"), (offsets, "int64"))
        )
    )


def features(form, schema=SMALL_SCHEMA):
    return Features(schema, Dictionaries.without_values(schema), "bucket", form, oov_buckets=7)


def elements(form, windows, share, at_once, tombstones=(), schema=SMALL_SCHEMA):
    return elements_of(features(form, schema), windows, BATCH, at_once, tombstones, Negatives(share))


def encoded(form, rows=ROWS, schema=SMALL_SCHEMA):
    return [form.encode(row, schema.columns) for row in rows]


def learned_from(found):
    """The offsets of the rows that are learned from, by window."""
    return {
        number: [o for e in found if int(e.window) == number for o in e.batch.origin.offset.numpy()[e.batch.valid.numpy()].tolist()]
        for number in {int(e.window) for e in found} - {-1}
    }


def test_a_share_is_kept_the_same_ones_each_time_and_fewer_of_the_same_for_a_smaller_share():
    of_all = origin(range(100_000))
    half, tenth = Negatives(0.5).keeps(of_all).numpy(), Negatives(0.1).keeps(of_all).numpy()
    assert half.mean() == pytest.approx(0.5, abs=0.005)  # three standard errors
    assert tenth.mean() == pytest.approx(0.1, abs=0.003)
    assert not (tenth & ~half).any()
    assert np.array_equal(tenth[500:600], Negatives(0.1).keeps(origin(range(500, 600))).numpy())
    # The first ones of partition 0, from SplitMix64 by hand.
    assert np.flatnonzero(Negatives(0.1).keeps(origin(range(60), partition=0)).numpy()).tolist() == by_hand(60, 0.1)
    others = Negatives(0.1).keeps(origin(range(100_000), partition=4)).numpy()
    assert abs(np.corrcoef(tenth, others)[0, 1]) < 0.01
    in_message = Negatives(0.1).keeps(of_all, tf.ones([100_000], tf.int32)).numpy()
    assert abs(np.corrcoef(tenth, in_message)[0, 1]) < 0.01


def by_hand(offsets, share):
    def mixed(x):
        x = (x + 0x9E3779B97F4A7C15) % 2**64
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return (x ^ (x >> 31)) >> 1

    return [o for o in range(offsets) if mixed(mixed(0) + o) < share * 2**63]


@pytest.mark.parametrize(("name", "at_once"), [("tsv", 5), ("tsv", 64), ("csv", 30), ("json", 7), ("json_objects", 50)])
def test_clicks_and_kept_negatives_are_learned_from_in_full_batches_whatever_is_read_at_once(name, at_once):
    form = FORMATS[name]
    windows = [encoded(form, ROWS[:200]), encoded(form, ROWS[200:])]
    found = elements(form, windows, 0.3, at_once)
    kept = [bool(k) or int(row[0]) for k, row in zip(Negatives(0.3).keeps(origin(range(300))).numpy(), ROWS, strict=True)]
    expected = {n: [o for o in span if kept[o]] for n, span in enumerate((range(200), range(200, 300)))}
    assert learned_from(found) == expected
    for number, offsets in expected.items():
        of_window = [e for e in found if int(e.window) == number]
        full, rest = divmod(len(offsets), BATCH)
        assert [int(e.batch.valid.numpy().sum()) for e in of_window] == [BATCH] * full + [rest] * bool(rest) + [0]
        assert [bool(e.last) for e in of_window] == [False] * (len(of_window) - 1) + [True]
        assert sum(int(e.left_out) for e in of_window) == (200, 100)[number] - len(offsets)
    assert [int(e.left_out) for e in found if int(e.window) == -1] == [0, 0]


def test_rows_that_are_no_rows_are_refused_as_ever():
    rows = [list(row) for row in ROWS[:40]]
    rows[5][0] = "x"
    messages = encoded(FORMATS["tsv"], rows)
    messages[7], messages[9] = b"", b""
    found = elements(FORMATS["tsv"], [messages], 1e-9, 16, tombstones={9})
    refused = [
        (int(o), REASONS[r])
        for e in found
        for o, r in zip(e.rejected.origin.offset.numpy(), e.rejected.reason.numpy(), strict=True)
    ]
    assert refused == [(5, "label"), (7, "empty"), (9, "tombstone")]
    assert learned_from(found) == {0: [0, 10, 15, 20, 25, 30, 35]}


def test_a_negative_that_is_left_out_is_not_looked_at_where_the_label_stands_first():
    messages = [b"0\tno number\t\t\t", b"1\tno number\t\t\t", b"false\t3\t\t\t", b"true\t3\t\t\t"]
    found = elements(FORMATS["tsv"], [messages], 1e-9, 4)
    assert [REASONS[r] for e in found for r in e.rejected.reason.numpy()] == ["number"]
    assert learned_from(found) == {0: [3]}
    assert sum(int(e.left_out) for e in found) == 2


def test_a_label_elsewhere_and_texts_that_are_clicks():
    columns = [{"name": "item", "kind": "category"}, {"name": "event", "kind": "label", "positive": ["buy"]}]
    schema = Schema.model_validate({"name": "t", "columns": columns})
    rows = [[f"{i}", ("buy", "view", "")[i % 3]] for i in range(30)]
    found = elements(FORMATS["tsv"], [encoded(FORMATS["tsv"], rows, schema)], 1e-9, 10, schema=schema)
    assert learned_from(found) == {0: list(range(0, 30, 3))}
    first = Schema.model_validate({"name": "t", "columns": columns[::-1]})
    found = elements(FORMATS["tsv"], [encoded(FORMATS["tsv"], [row[::-1] for row in rows], first)], 1e-9, 10, schema=first)
    assert learned_from(found) == {0: list(range(0, 30, 3))}


@pytest.mark.parametrize("sizes", [(1,), (7, 1, 30, 2), (60,)], ids=str)
def test_of_messages_of_many_rows_each_row_is_kept_by_itself(sizes):
    form, rows, messages, firsts = FORMATS["arrow"], list(ROWS[:120]), [], itertools.cycle(sizes)
    places = []
    while rows:
        size = min(next(firsts), len(rows))
        places += [(len(messages), i) for i in range(size)]
        messages.append(form.encode_rows(rows[:size], SMALL_SCHEMA.columns))
        rows = rows[size:]
    found = elements(form, [messages], 0.25, 3)
    offsets, numbers = (tf.constant(x, tf.int32) for x in zip(*places, strict=True))
    kept = Negatives(0.25).keeps(origin(offsets.numpy()), numbers).numpy() | np.array([row[0] == "1" for row in ROWS[:120]])
    rows_of = [e.batch for e in found]
    seen = [(int(o), int(r)) for b in rows_of for o, r, v in zip(b.origin.offset, b.place.row, b.valid, strict=True) if v]
    assert seen == [place for place, keep in zip(places, kept, strict=True) if keep]
    assert sum(int(e.left_out) for e in found) == int((~kept).sum())
    full, rest = divmod(len(seen), BATCH)
    assert [int(b.valid.numpy().sum()) for b in rows_of] == [BATCH] * full + [rest] * bool(rest) + [0, 0]


# What is learned


def learner_of(share, **flags):
    config = of_flags(embedding_dim=2, deep_layers="3", wide_reduction="sum", **flags)
    f = features(FORMATS["tsv"])
    return f, make_learner(make_strategy(1, "cpu"), f.spec, config.model, config.optimizers, keep_negatives=share)


def test_the_loss_is_that_of_the_kept_rows_and_the_scores_are_those_of_the_stream():
    f, learner = learner_of(0.2)
    row = f(tf.constant(encoded(FORMATS["tsv"], ROWS[:6])))
    examples = Examples(row.label, row.weight, row.features)
    logits = learner.score(row.features).numpy().astype(float)
    result = learner.train(examples)
    np.testing.assert_allclose(result.logits, logits, rtol=1e-6)
    # Among the kept rows the odds of a click are five times as high.
    labels, x = np.array([1, 0, 0, 0, 0, 1]), logits + math.log(5)
    assert float(result.losses["wide_loss"]) == pytest.approx(np.mean(np.logaddexp(0, x) - labels * x), rel=1e-6)


def test_histories_count_a_kept_negative_for_those_that_it_stands_for():
    f, learner = learner_of(0.2, history=True)
    row = f(tf.constant([b"1\t5\t\ta\tb", b"0\t5\t\ta\tb"]))
    learner.train(Examples(row.label, row.weight, row.features))
    counted = learner.model.history.counts.numpy() if hasattr(learner.model.history, "counts") else None
    ids = row.features["ids"].numpy()[0]
    table = next(v for v in learner.model.statistics if v.shape.rank == 2).numpy() if counted is None else counted
    assert table[ids[0]].tolist() == [6, 1]  # rows and clicks


def test_importance_and_what_is_read_for_a_batch():
    assert Negatives().importance(np.array([0.0, 1.0])) is None
    assert Negatives(0.1).importance(np.array([0, 1], np.float32)).tolist() == [10, 1]
    assert [Negatives(s).rows_to_read(100) for s in (1, 0.1, 1e-6)] == [100, 1000, 100_000]
    assert Negatives(0.1).rows_to_read(1_000_000) == 1_000_000


@pytest.mark.parametrize("share", [0, -0.1, 1.5])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(UserError, match="keep_negatives"):
        of_flags(keep_negatives=share)
    with pytest.raises(UserError, match="--partition_groups, fill batches"):
        of_flags(keep_negatives=0.5, partition_groups=2)
