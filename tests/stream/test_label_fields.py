"""What rows and outcomes say of their key, time and label, by format."""

import io
import json

import fastavro
import pytest

from tfonline.features.schema import Schema
from tfonline.formats.avro import Avro
from tfonline.formats.json_objects import JsonObjects
from tfonline.formats.tsv import Tsv
from tfonline.lifecycle import UserError
from tfonline.settings.labels import LabelSettings
from tfonline.stream.labels.fields import OutcomeFields, RowFields, check_label_columns
from tfonline.stream.readers import Rows

COLUMNS = [
    {"name": "item", "kind": "category"},
    {"name": "click", "kind": "label"},
    {"name": "request", "kind": "ignore"},
    {"name": "at", "kind": "time", "unit": "ms"},
    {"name": "price", "kind": "number"},
]
FORMS = ["tsv", "json_objects", "avro"]


def schema_of(positive=None, unit="ms"):
    columns = [dict(column) for column in COLUMNS]
    columns[3]["unit"] = unit
    if positive:
        columns[1]["positive"] = positive
    return Schema.model_validate({"name": "t", "columns": columns})


class Writer:
    """Writes messages of a format: some columns, by name, in the schema's order; one without a value is missing."""

    def __init__(self, form):
        fields = [{"name": c["name"], "type": ["null", "string"], "default": None} for c in COLUMNS]
        self._avro = {"type": "record", "name": "Row", "fields": fields}
        self._form = form
        self.form = {"tsv": Tsv, "json_objects": JsonObjects, "avro": lambda: Avro(json.dumps(self._avro))}[form]()

    def __call__(self, **values):
        values = {c["name"]: values[c["name"]] for c in COLUMNS if c["name"] in values}
        if self._form == "tsv":
            return "\t".join(str(v) for v in values.values()).encode()
        if self._form == "json_objects":
            return json.dumps({name: value for name, value in values.items() if value != ""}).encode()
        out = io.BytesIO()
        texts = {name: None if value == "" else str(value) for name, value in values.items()}
        fastavro.schemaless_writer(out, fastavro.parse_schema(self._avro), {c["name"]: texts.get(c["name"]) for c in COLUMNS})
        return out.getvalue()


def rows(messages, keys=None):
    numbers = range(len(messages))
    return Rows(messages, [7 + n for n in numbers], [1000 + n for n in numbers], keys or [b"k%d" % n for n in numbers])


def settings(key="", time=""):
    return LabelSettings(label_topic="outcomes", label_key=key, label_time=time)


@pytest.fixture(params=FORMS)
def write(request):
    return Writer(request.param)


# Rows


def test_the_messages_keys_and_times_are_taken_as_they_are():
    """And the messages are not looked at, whatever they are."""
    found = RowFields(schema_of(), Tsv(), settings())(rows([b"\xff", b""], keys=[b"a", None]))
    assert (list(found.key), list(found.time_ms), list(found.offset)) == ([b"a", None], [1000, 1001], [7, 8])


def test_a_column_is_the_key_whatever_text_it_is(write):
    messages = [write(item="i", request=r, at=5, price=1) for r in ("r1", "", "grün", "1.50")]
    found = RowFields(schema_of(), write.form, settings("request"))(rows(messages))
    assert list(found.key) == [b"r1", None, "grün".encode(), b"1.50"]
    assert list(found.time_ms) == [1000, 1001, 1002, 1003]


def test_a_column_is_the_time_and_where_it_is_missing_the_messages(write):
    messages = [write(item="i", request="r", at=at, price=1) for at in (1234, "", -5)]
    found = RowFields(schema_of(), write.form, settings("", "at"))(rows(messages))
    assert list(found.time_ms) == [1234, 1001, -5]
    assert list(found.key) == [b"k0", b"k1", b"k2"]


@pytest.mark.parametrize(
    ("unit", "text", "ms"),
    [
        ("s", "1700000000", 1_700_000_000_000),
        ("ms", "1700000000123", 1_700_000_000_123),
        ("us", "1700000000123999", 1_700_000_000_123),
        ("iso", "2026-11-29T13:05:00+01:00", 1_795_953_900_000),
        ("yymmddhh", "70010102", 7_200_000),
    ],
)
def test_times_of_every_unit_are_milliseconds(unit, text, ms):
    write = Writer("tsv")
    messages = [write(item="i", request="r", at=at, price=1) for at in (text, "")]
    found = RowFields(schema_of(unit=unit), write.form, settings("request", "at"))(rows(messages))
    assert list(found.time_ms) == [ms, 1001]


def test_a_row_that_is_refused_has_what_its_message_has_and_hurts_no_other(write):
    """Garbage has no key; a price that is no number does not make a row's key unknown where columns have names."""
    good = write(item="i", request="r1", at=5, price=1)
    bad = write(item="i", request="r2", at=5, price="much")
    found = RowFields(schema_of(), write.form, settings("request", "at"))(rows([good, b"\xff\xfe", b"", bad, good]))
    keys = list(found.key)
    assert (keys[0], keys[4]) == (b"r1", b"r1")
    assert keys[1:3] == [None, None]
    assert keys[3] in (b"r2", None)
    assert list(found.time_ms)[::4] == [5, 5]


def test_garbage_in_the_time_column_is_no_time(write):
    messages = [write(item="i", request="r1", at=at, price=1) for at in ("soon", 5)]
    found = RowFields(schema_of(), write.form, settings("request", "at"))(rows(messages))
    assert list(found.time_ms) == [1000, 5]


def test_a_tombstone_has_no_key(write):
    for of in (settings(), settings("request")):
        found = RowFields(schema_of(), write.form, of)(rows([None, write(item="i", request="k1", at=5, price=1)]))
        assert list(found.key) == [None, b"k1"]


# Outcomes


def outcomes(form, messages, of=None, keys=None, **schema):
    return OutcomeFields(schema_of(**schema), form, of or settings())(rows(messages, keys))


def test_a_label_alone(write):
    messages = [write(click=label) for label in (1, 0, "true", "false")]
    joined, positive = outcomes(write.form, messages)
    assert positive == [True, False, True, False]
    assert list(joined.key) == [b"k0", b"k1", b"k2", b"k3"]


def test_that_an_outcome_came_says_that_it_is_positive(write):
    _, positive = outcomes(write.form, [b"", write(click="")])
    assert positive == [True, True]


def test_a_message_without_a_value_or_without_a_key_is_none(write):
    _, positive = outcomes(write.form, [None, write(click=1), write(click=1)], keys=[b"a", None, b"c"])
    assert positive == [None, None, True]


def test_garbage_is_unreadable_and_hurts_no_other(write):
    _, positive = outcomes(write.form, [write(click=1), b"\xff\xfe", write(click="maybe"), write(click=2), write(click=0)])
    assert positive == [True, None, None, None, False]
    joined, positive = outcomes(
        write.form, [write(click=1, request="a"), b"\xff\xfe", write(click="maybe", request="b")], settings("request")
    )
    assert positive == [True, None, None]
    assert joined.key[0] == b"a"


def test_labels_by_their_names(write):
    messages = [write(click=label) for label in ("click", "buy", "view", "", "1")]
    _, positive = outcomes(write.form, messages, positive=["click", "buy"])
    assert positive == [True, True, False, True, False]


def test_key_and_time_stand_in_columns_in_the_order_of_a_row(write):
    messages = [write(click=c, request=r, at=at) for c, r, at in ((1, "a", 50), ("", "b", ""), (0, "", 70))]
    joined, positive = outcomes(write.form, messages, settings("request", "at"))
    assert list(joined.key) == [b"a", b"b", None]
    assert list(joined.time_ms) == [50, 1001, 70]
    assert positive == [True, True, None]


def test_what_else_an_outcome_has_is_passed_over_where_columns_have_names():
    for form in FORMS[1:]:
        write = Writer(form)
        joined, positive = outcomes(write.form, [write(item="i", click=1, request="a", price=3)], settings("request"))
        assert (list(joined.key), positive) == ([b"a"], [True])


def test_what_was_seen_before_is_known_and_what_is_known_is_bounded(write):
    fields = OutcomeFields(schema_of(positive=["buy"]), write.form, settings())
    for start in range(0, 24_000, 6000):
        new = [write(click=f"view{n}") for n in range(start, start + 6000)]
        assert fields(rows([*new, write(click="buy"), write(click="view3")]))[1] == [False] * 6000 + [True, False]
    assert len(fields._known) < 20_000


# Flags


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (settings("user"), "--label_key=user is no column. Expected one of item, request, at, price"),
        (settings("click"), "--label_key=click is no column"),
        (settings("", "price"), r"--label_time=price is no column of kind time \(at\)"),
    ],
)
def test_columns_that_are_not_there_are_refused(of, said):
    with pytest.raises(UserError, match=said) as e:
        check_label_columns(schema_of(), Tsv(), of)
    assert e.value.code == 64
    check_label_columns(schema_of(), Tsv(), settings("request", "at"))


def test_messages_of_many_rows_are_refused():
    many = type("Many", (Tsv,), {"many": True, "name": "arrow"})()
    with pytest.raises(UserError, match="those of arrow have many") as e:
        check_label_columns(schema_of(), many, settings())
    assert e.value.code == 64
