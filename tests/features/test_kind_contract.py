"""Every kind of columns through the same checks. Who adds a kind adds a line to CASES."""

import dataclasses
import math

import pytest
import tensorflow as tf
from contracts import kinds as contract
from contracts.kind_rows import Case, in_place
from contracts.kinds import CHECKS, check_kind

from tfonline.features.kinds import KINDS
from tfonline.features.kinds.category import Category
from tfonline.features.kinds.category_ops import CategoryOp
from tfonline.features.kinds.integer import Integer, Integers
from tfonline.features.kinds.integer_ops import IntegerOp
from tfonline.features.kinds.label import Label
from tfonline.features.spec import Input

NINES = "9" * 18

CASES = {
    "label": Case("label", ["0", "1", "true", "false"], ["", "2", "01", "1.0", " 1", "yes", "True"]),
    "label, positive": Case("label", ["click", "view", "", "1"], options={"positive": ["click", "buy"]}),
    "integer": Case(
        "integer", ["0", "5", "-3", "88", NINES], ["x", "1.5", "+5", " 5", "-", "9" * 19], [0.5, 2.0**53, math.inf], [NINES]
    ),
    "integer, default": Case("integer", ["0", "5", "-3", "88"], ["x", "1.5"], [0.5], options={"default": 7}),
    "category": Case("category", ["ab", "grün", " a ", "null", "007", "new"]),
    "category, default": Case("category", ["ab", "grün", "new"], options={"default": "ab"}),
    "category, hashed": Case("category", ["ab", "grün", "new", "7"], options={"hash_buckets": 1000}),
    "number": Case(
        "number",
        ["0", "1.5", "-2e-3", ".25", "7.", "1e30"],
        ["x", "1.5.2", "+5", " 5", "1e400", "nan", "inf", "0x1", "-"],
        [math.inf],
    ),
    "number, boundaries": Case("number", ["-7", "0.5", "1", "3"], ["x"], options={"boundaries": [0, 0.75, 2]}),
    "number, default": Case("number", ["-7", "0.5", "1", "3"], ["x"], options={"default": 0.5}),
    "time": Case("time", ["0", "1700000000", "1700090000", "-90000"], ["x", "1.5", "2026-11-29T13:05:00Z"], ["x"]),
    "time, iso": Case(
        "time",
        ["2026-11-29T13:05:00+01:00", "2026-11-28 22:05", "1969-12-31T23:59:59.5Z", "2024-02-29T00:00:01-03:30"],
        ["2026-13-01T00:00", "2026-11-29", "2026-11-29T24:00", "13:05", "1700000000"],
        ["2026-11-29"],
        options={"unit": "iso", "as": ["weekday"]},
    ),
    "time, yymmddhh": Case(
        "time",
        ["14102100", "14102223", "99010112"],
        ["141021", "14132100", "14102124"],
        options={"unit": "yymmddhh", "as": ["hour"]},
    ),
    "ignore": Case("ignore", ["ab", "", "0"]),
    "weight": Case("weight", ["0", "1", "0.25", ".5", "3e2"], ["x", "-1", "nan", "inf"], options={"maximum": 1000}),
    "categories": Case("categories", ["a|b|c", "grün", "a||b|", "|", "c|b|a|new|a"], options={"max_length": 3}),
    "categories, hashed": Case("categories", ["a;b", "c"], options={"hash_buckets": 100, "separator": ";", "keep": "first"}),
    "categories, log2": Case("categories", ["0|1|3600", "86400", "x|5"], options={"hash_buckets": 100, "log2": True}),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", CASES)
def test_a_kind_keeps_its_contract(name, check):
    check(KINDS[CASES[name].kind], CASES[name])


def test_every_kind_is_held_to_it():
    assert {case.kind for case in CASES.values()} == set(KINDS)


class Capturing(Integer):
    def texts(self, column):
        return super().texts(column)._replace(pattern="(-?[0-9]{1,18})?")


class Lenient(Label):
    def texts(self, column):
        return super().texts(column)._replace(pattern="[0-9]")


class WholeBatch(Integer):
    """A value that is missing costs the others theirs."""

    def parse(self, text, columns):
        number, missing = super().parse(text, columns)
        return Integers(number, missing | tf.reduce_any(missing))


class NothingMissing(Integer):
    def parse(self, text, columns):
        number, missing = super().parse(text, columns)
        return Integers(number, tf.zeros_like(missing))


class AllOne(Category):
    def parse(self, text, columns):
        return super().parse(tf.strings.substr(text, 0, 0), columns)


class Truncating(Integer):
    """The signature `columns` takes 0.5 for 0."""

    def parse_served(self, given, columns):
        values, taken = super().parse_served(given, columns)
        return values, tf.ones_like(taken)


class OtherMissing(Category):
    """In the signature `columns`, a missing value is one that messages would have to spell."""

    served_missing = "-"


class Heavy(Label):
    __module__ = "tfonline.features.kinds.integer_ops"


def with_op(kind, change):
    """A kind whose op is another."""

    class Changed(kind):
        def make_op(self, *arguments):
            return change(super().make_op(*arguments))

    return Changed


class Centred(IntegerOp):
    """A row's values hang on the other rows."""

    def __call__(self, values):
        inputs = super().__call__(values)
        return inputs._replace(values=inputs.values - tf.reduce_mean(inputs.values))


class Undeclared(IntegerOp):
    def __call__(self, values):
        return super().__call__(values)._replace(own={"squares": tf.cast(values.number**2, tf.float32)})


class Crossing(IntegerOp):
    """It has an input of a name that another has."""

    inputs = {"crosses": Input(1, "int32", 0)}  # noqa: RUF012


class Calling(IntegerOp):
    """It runs Python for each batch."""

    def __call__(self, values):
        inputs = super().__call__(values)
        ids = tf.numpy_function(lambda ids: ids, [inputs.ids], tf.int32)
        return inputs._replace(ids=tf.ensure_shape(ids, inputs.ids.shape))


class ColumnsAlike(CategoryOp):
    """A value has the same id in all columns."""

    def __call__(self, values):
        inputs = super().__call__(values)
        return inputs._replace(ids=tf.repeat(inputs.ids[:, :1], self.num_fields, axis=1))


class Untracked:
    """It holds a table, and a SavedModel is not told of it."""

    def __init__(self, op):
        self._call, self.shares, self.keep_in = lambda values: op(values), op.shares, op.keep_in
        self.num_fields, self.num_ids, self.scaled_fields, self.inputs = op.num_fields, op.num_ids, op.scaled_fields, op.inputs
        self.lists, self.keyed = op.lists, op.keyed

    def __call__(self, values):
        return self._call(values)


def numbers(op):
    """Makes an op of this class of an IntegerOp."""
    return with_op(Integer, lambda made: op(**{f.name: getattr(made, f.name) for f in dataclasses.fields(made)}))


def texts(op):
    return with_op(Category, lambda made: op(made._lookup, made._columns, made.num_ids))


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (Capturing, contract.it_says_which_texts_it_takes),
        (Lenient, contract.it_says_which_texts_it_takes),
        (Lenient, contract.a_bad_row_is_refused_alone),
        (WholeBatch, contract.a_bad_row_is_refused_alone),
        (NothingMissing, contract.a_missing_value_is_one),
        (AllOne, contract.values_are_told_apart),
        (numbers(Undeclared), contract.inputs_are_as_the_spec_says),
        (numbers(Calling), contract.serving_can_run_it),
        (numbers(Crossing), contract.an_own_input_is_of_one_kind),
        (numbers(Centred), contract.the_order_inside_a_batch_changes_nothing),
        (Truncating, contract.columns_give_what_messages_give),
        (OtherMissing, contract.columns_give_what_messages_give),
        (texts(ColumnsAlike), contract.a_schema_may_have_none_or_two_of_it),
        (with_op(Category, Untracked), contract.what_is_exported_scores_as_the_trainer_does),
        (Heavy, contract.tools_start_without_tensorflow),
    ],
)
def test_a_kind_that_breaks_it_is_found(kind, check):
    kind = kind()
    with in_place(kind), pytest.raises(AssertionError):
        check(kind, CASES[kind.name])
    assert KINDS[kind.name] is not kind


def test_all_checks_are_run():
    with pytest.raises(AssertionError, match="imports TensorFlow"):
        check_kind(Heavy(), CASES["label"])
