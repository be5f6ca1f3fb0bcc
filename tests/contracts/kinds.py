"""What every kind of columns has to hold to. check_kind(kind, case) is for a kind of one's own, too; it needs no pytest."""

import contextlib
import re
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np
import tensorflow as tf

from contracts.kind_rows import (
    FLAGS,
    Case,
    can_be_missing,
    columns_of,
    counts,
    features_of,
    in_place,
    messages_of,
    rows_with,
    schema_with,
    texts_with,
)
from tfonline.actions.watch_drift import compared_values
from tfonline.config import of_flags
from tfonline.features.column import ANY_TEXT
from tfonline.features.kinds import KINDS, Kind, texts_of
from tfonline.features.parse import Parse, parse_served
from tfonline.features.pipeline import Features
from tfonline.features.schema import Schema
from tfonline.formats import FORMATS
from tfonline.formats.reasons import REASONS
from tfonline.model.learner import make_learner
from tfonline.model.tables.replicas import make_strategy
from tfonline.publish.servable import Servable


def equal(found: Any, expected: Any, message: object) -> None:
    """Two nests of tensors are equal to the bit."""
    tf.nest.map_structure(lambda a, b: np.testing.assert_array_equal(a, b, err_msg=str(message)), found, expected)


def close(found: Any, expected: Any, message: object) -> None:
    """Two nests of numbers are equal, but for the last bits of floats: they may hang on a row's place in its batch."""
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, err_msg=str(message)), found, expected)


def some(nest: Any, rows: Any) -> Any:
    """These rows of a nest of tensors."""
    return tf.nest.map_structure(lambda t: t.numpy()[rows], nest)


def it_says_which_texts_it_takes(kind: Kind, case: Case) -> None:
    assert KINDS[kind.name] is kind
    pattern, blank, example, expected = texts_with(kind, case)
    assert re.compile(pattern).groups == 0, "the pattern has a group that captures"
    assert kind.reason in REASONS, kind.reason
    assert kind.reason or pattern == ANY_TEXT, "what takes not any text has a reason"
    assert expected
    assert example
    assert can_be_missing(kind, case) or "" in case.refuses
    texts = dict.fromkeys((*case.takes, blank, example), True) | dict.fromkeys(case.refuses, False)
    texts |= dict.fromkeys(("\t", "\r", "\n", "0\t", "0\r", "0\n0"), False)
    for text, taken in texts.items():
        assert bool(re.fullmatch(pattern, text)) == taken, (text, taken)
        assert bool(tf.strings.regex_full_match(text, pattern)) == taken, (text, taken)


def a_bad_row_is_refused_alone(kind: Kind, case: Case) -> None:
    schema = schema_with(kind, case)
    good, bad = rows_with(schema, kind, case.takes), rows_with(schema, kind, case.refuses) or [["too", "few"]]
    reason = kind.reason if case.refuses else "fields"
    blank = [texts_of(column).blank for column in schema.columns]
    pairs = [(i, j) for i in range(len(good)) for j in range(len(bad))]
    # Where a column takes any text, a row is refused for its number of fields, which formats with names do not know.
    for name, form in ((name, form) for name, form in FORMATS.items() if case.refuses or not form.named):
        alone, of_blanks, mixed = (
            Parse(schema, form)(tf.constant([form.encode(row, schema.columns) for row in rows]))._replace(place=())
            for rows in (good, [blank] * len(pairs), [row for i, j in pairs for row in (good[i], bad[j])])
        )
        assert not alone.reason.numpy().any(), [REASONS[r] for r in alone.reason]
        equal(some(mixed, slice(0, None, 2)), some(alone, [i for i, _ in pairs]), f"{name}: a good row beside bad ones")
        refused = some(mixed, slice(1, None, 2))
        assert {REASONS[r] for r in refused.reason} == {reason}, name
        equal(refused.values, of_blanks.values, f"{name}: a refused row has no values")


def a_missing_value_is_one(kind: Kind, case: Case) -> None:
    if not can_be_missing(kind, case):
        return
    schema = schema_with(kind, case)
    if "default" in case.options:
        missing, default = (
            Parse(schema)(messages_of(rows_with(schema, kind, [t] * 2))) for t in ("", str(case.options["default"]))
        )
        equal(missing, default, "a default stands for a missing value")
        return
    texts = [case.takes[0], "", case.takes[1], ""]
    fields = Parse(schema)(messages_of(rows_with(schema, kind, texts)))
    assert not fields.reason.numpy().any()
    if kind.is_feature:
        for flags in FLAGS:
            shares = features_of(schema, case, **flags).ops[kind.name].shares(fields.values[kind.name])
            assert shares["missing"].numpy().tolist() == [[False], [True], [False], [True]], flags
            assert all(share.shape == [4, 1] for share in shares.values())
            assert not any(share.numpy()[[1, 3]].any() for what, share in shares.items() if what != "missing")


def values_are_told_apart(kind: Kind, case: Case) -> None:
    schema = schema_with(kind, case)
    texts = [*case.takes, *([""] if can_be_missing(kind, case) and "default" not in case.options else [])]
    parsed = tf.nest.flatten(Parse(schema)(messages_of(rows_with(schema, kind, texts))).values[kind.name])
    rows = {tuple(x for tensor in parsed for x in tensor.numpy()[i].ravel().tolist()) for i in range(len(texts))}
    assert len(rows) == len(texts) or not kind.is_feature, "two values are parsed to the same"


def inputs_are_as_the_spec_says(kind: Kind, case: Case) -> None:
    for count in counts(kind):
        schema = schema_with(kind, case, count)
        messages = messages_of(rows_with(schema, kind, [*case.takes, texts_with(kind, case).blank, *case.refuses]))
        for flags in FLAGS if count == counts(kind)[-1] else FLAGS[-1:]:
            features = features_of(schema, case, **flags)
            spec, eager = features.spec, features(messages)
            in_graph = tf.function(features.__call__, autograph=False, input_signature=[tf.TensorSpec([None], tf.string)])
            row = in_graph(messages)
            equal(row, eager, f"{flags}: a graph beside Python")
            assert sorted(row.features) == sorted(spec.inputs)
            for name, expected in spec.inputs.items():
                assert (row.features[name].dtype.name, row.features[name].shape[1:]) == (expected.dtype, [expected.width]), name
            ids, values = (row.features[name].numpy() for name in ("ids", "values"))
            single = spec.num_single
            assert ids.min() >= 0
            assert ids[:, :single].max(initial=0) < features.num_ids, flags
            assert ((ids[:, single:] == spec.num_ids) == (values[:, single:] == 0)).all(), "what holds nothing is padding"
            assert spec.by_field(tf.ones([1, ids.shape[1], 2])).shape == [1, spec.num_fields, 2]
            if (scaled := spec.scaled_fields) is not None:
                assert (ids[:, :scaled] == np.arange(scaled)).all(), flags
                assert (values[:, scaled:single] == 1).all(), flags
            tf.nest.map_structure(lambda t, n: _assert_same_kind(t, n), row, in_graph(messages[:0]))


def serving_can_run_it(kind: Kind, case: Case) -> None:
    for flags in FLAGS:
        features = tf.function(features_of(schema_with(kind, case), case, **flags).__call__, autograph=False)
        graph = features.get_concrete_function(tf.TensorSpec([None], tf.string)).graph.as_graph_def()
        nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
        assert not [node.op for node in nodes if "PyFunc" in node.op]  # one saves without a word, and fails in serving


def an_own_input_is_of_one_kind(kind: Kind, case: Case) -> None:
    for flags in FLAGS:
        ops = features_of(schema_with(kind, case), case, **flags).ops
        assert not {"ids", "values", "crosses"} & {name for op in ops.values() for name in op.inputs}
        for name in ops[kind.name].inputs if kind.is_feature else ():
            alike = {op.inputs[name]._replace(width=0) for op in ops.values() if name in op.inputs}
            assert len(alike) == 1, f"{name} is {alike}"


def the_order_inside_a_batch_changes_nothing(kind: Kind, case: Case) -> None:
    schema = schema_with(kind, case, counts(kind)[-1])
    rows = rows_with(schema, kind, [*case.takes, texts_with(kind, case).blank, *case.refuses, *case.takes])
    order = np.random.default_rng(5).permutation(len(rows))
    for flags in FLAGS:
        features = features_of(schema, case, **flags)
        turned = features(messages_of([rows[i] for i in order]))
        in_order = features(messages_of(rows))
        close(some(turned, slice(None)), some(in_order, order), f"{flags}: another order of rows")
        for i in (0, len(rows) - 1):
            alone = features(messages_of([rows[i]]))
            close(some(alone, slice(None)), some(in_order, [i]), f"{flags}: a row by itself")


def columns_give_what_messages_give(kind: Kind, case: Case) -> None:
    if not kind.is_feature:
        return
    schema = schema_with(kind, case, 2)
    rows = rows_with(schema, kind, [text for text in (*case.takes, texts_with(kind, case).blank) if text not in case.not_served])
    for flags in FLAGS:
        features = features_of(schema, case, **flags)
        of_messages, of_columns = features(messages_of(rows)), features.of_fields(parse_served(schema, columns_of(schema, rows)))
        assert not of_columns.reason.numpy().any()
        equal(of_columns.features, of_messages.features, f"{flags}: the signature `columns` beside messages")
    for i, refused in enumerate(case.served_refuses):
        given = columns_of(schema, rows)
        given["K2"] = tf.constant([*given["K2"].numpy()[:1], refused, *given["K2"].numpy()[2:]], kind.served_dtype)
        fields = parse_served(schema, given)
        reasons = [REASONS[r] for r in fields.reason]
        assert reasons == ["", kind.reason, *[""] * (len(rows) - 2)], (i, refused, reasons)
        others = np.delete(np.arange(len(rows)), 1)
        equal(some(fields.values, others), some(parse_served(schema, columns_of(schema, rows)).values, others), refused)


def a_schema_may_have_none_or_two_of_it(kind: Kind, case: Case) -> None:
    refused = {"label": 0, "weight": 2}  # columns
    if kind.name in refused:
        count = refused[kind.name]
        with contextlib.suppress(ValueError):
            schema_with(kind, case, count)
            raise AssertionError(f"a schema may have {count} columns of kind {kind.name}")
        return
    none, two = schema_with(kind, case, 0), schema_with(kind, case, 2)
    for flags in FLAGS:
        features = features_of(none, case, **flags)
        row = features(messages_of(rows_with(none, kind, ["", ""])))
        assert row.features["ids"].shape == [2, 2], "the two columns of another kind have a field each"
        if not kind.is_feature:
            continue
        assert features.ops[kind.name].num_fields == 0
        assert not features.ops[kind.name].inputs
        op = (features := features_of(two, case, **flags)).ops[kind.name]
        values = features.parse(messages_of(rows_with(two, kind, case.takes))).values[kind.name]
        inputs = op(values)
        each = inputs.ids.shape[1] // 2
        first, second = (set(inputs.ids.numpy()[:, i : i + each].ravel()) - {-1} for i in (0, each))
        assert not first & second, f"{flags}: two columns share ids"
        same = rows_with(two, kind, case.takes[:1] * len(case.takes))
        changed = [[*row[:-2], text, row[-1]] for row, text in zip(same, case.takes, strict=True)]
        of_first = op(features.parse(messages_of(changed)).values[kind.name])
        for tensor in (of_first.ids, of_first.values, of_first.keys):
            assert len(np.unique(tensor.numpy()[:, :each], axis=0)) <= 1, f"{flags}: a column depends on another"


def what_is_exported_scores_as_the_trainer_does(kind: Kind, case: Case) -> None:
    most = counts(kind)[-1]
    tried = [(most, FLAGS[2])]
    if not case.options:  # what a column's options change, other checks look at
        tried += [(most, FLAGS[0])] + ([(0, FLAGS[2])] if kind.name != "label" else [])
    for count, flags in tried:
        schema = schema_with(kind, case, count)
        good = rows_with(
            schema, kind, [text for text in (*case.takes, texts_with(kind, case).blank) if text not in case.not_served]
        )
        bad = rows_with(schema, kind, case.refuses) if count else []
        _check_export(schema, features_of(schema, case, **flags), good, bad)


def _check_export(schema: Schema, features: Features, good: list[list[str]], bad: list[list[str]]) -> None:
    config = of_flags(embedding_dim=2, deep_layers="4", init_stddev=1.0)
    learner = make_learner(make_strategy(1, "cpu"), features.spec, config.model, config.optimizers)
    with tempfile.TemporaryDirectory() as folder:
        features.keep_in(folder)
        servable = Servable(config.model, schema, features)
        servable.load(tf.train.Checkpoint(learner=learner).write(f"{folder}/ckpt"))
        servable.write(f"{folder}/saved")
        signatures = tf.saved_model.load(f"{folder}/saved").signatures
        found = signatures["serving_default"](message=messages_of([*good, *bad]))
        unlabelled = [[text for text, column in zip(row, schema.columns, strict=True) if column.kind != "label"] for row in good]
        of_unlabelled = signatures["unlabelled"](message=messages_of(unlabelled))
        of_columns = signatures["columns"](**columns_of(schema, good))
    want = learner.score(features(messages_of([*good, *bad])).features).numpy()
    np.testing.assert_array_equal(found["logit"][: len(good)], want[: len(good)], err_msg="served scores are not the trainer's")
    assert np.isfinite(want[: len(good)]).all()
    assert np.isnan(found["logit"][len(good) :]).all()
    assert (found["reason"].numpy() > 0).tolist() == [False] * len(good) + [True] * len(bad)
    want = learner.score(features(messages_of(good)).features).numpy()
    for others in (of_unlabelled, of_columns):
        assert not others["reason"].numpy().any()
        np.testing.assert_array_equal(others["logit"], want, err_msg="signatures score otherwise than the trainer")


def tools_start_without_tensorflow(kind: Kind, case: Case) -> None:
    code = f"import sys, {type(kind).__module__}, tfonline.features.schema; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0, "the kind's module imports TensorFlow"


def what_is_compared_tells_missing_values(kind: Kind, case: Case) -> None:
    if not kind.is_feature:
        return
    for count in (1, 2):
        schema = schema_with(kind, case, count)
        values = Parse(schema)(messages_of(rows_with(schema, kind, [*case.takes, ""]))).values[kind.name]
        missing = some(features_of(schema, case, **FLAGS[0]).ops[kind.name].shares(values)["missing"], slice(None))
        all_rows = kind.compared(values, schema.columns_of(kind.name))
        assert all_rows.dtype in (np.int64, np.float64), all_rows.dtype
        found = all_rows == -1 if all_rows.dtype == np.int64 else np.isnan(all_rows)
        np.testing.assert_array_equal(found, missing)
        fields, rows = Parse(schema)(messages_of(rows_with(schema, kind, [*case.takes, ""]))), np.array([2, 0])
        of_rows = compared_values(schema)(fields, rows)
        for i, column in enumerate(schema.columns_of(kind.name)):
            np.testing.assert_array_equal(of_rows[column.name], all_rows[rows, i])


CHECKS = (
    it_says_which_texts_it_takes, a_bad_row_is_refused_alone, a_missing_value_is_one, what_is_compared_tells_missing_values,
    values_are_told_apart,
    inputs_are_as_the_spec_says, serving_can_run_it, an_own_input_is_of_one_kind, the_order_inside_a_batch_changes_nothing,
    columns_give_what_messages_give, a_schema_may_have_none_or_two_of_it, what_is_exported_scores_as_the_trainer_does,
    tools_start_without_tensorflow,
)  # fmt: skip


def check_kind(kind: Kind, case: Case) -> None:
    """Holds a kind to its contract.

    Args:
      kind: see kinds.Kind. One of its name stands in KINDS.
      case: examples for it.

    Raises:
      AssertionError: it breaks the contract.
    """
    with in_place(kind):
        for check in CHECKS:
            check(kind, case)


def _assert_same_kind(some_rows: tf.Tensor, no_rows: tf.Tensor) -> None:
    assert (no_rows.dtype, no_rows.shape) == (some_rows.dtype, [0, *some_rows.shape[1:]])
