"""Messages to fields, eagerly and inside a tf.data graph: good rows, each reason for a bad one, and both message formats."""

import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfonline.features.kinds.category import Category
from tfonline.features.kinds.integer import Integers
from tfonline.features.parse import Fields, Parse
from tfonline.features.schema import Schema, load_schema
from tfonline.formats import FORMATS, find
from tfonline.formats.reasons import REASONS


def schema_of(*columns: str) -> Schema:
    return Schema.model_validate(
        {"name": "small", "columns": [dict(zip(("name", "kind"), c.split(":"), strict=True)) for c in columns]}
    )


SMALL = schema_of("label:label", "I1..I2:integer", "C1..C2:category")
BAD = (0.0, [None, None], [b"", b""])  # the fields of a refused row


def eagerly(parse, messages):
    return parse(tf.constant(messages, tf.string))


def in_a_graph(parse, messages):
    return next(iter(tf.data.Dataset.from_tensors(tf.constant(messages, tf.string)).map(parse)))


@pytest.fixture(scope="module", autouse=True)
def texts_of_categories():
    """Here the typed values of categories are the texts, of which else only the hash is left."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Category, "parse", lambda self, text, columns: text)
        yield


both_ways = pytest.mark.parametrize("run", [eagerly, in_a_graph])


def rows(fields) -> list[tuple]:
    """Fields as (label or None, integers with None for a missing one, categories, reason) a row."""
    values, reason, _ = tf.nest.map_structure(lambda t: t.numpy(), fields)
    none = np.zeros([len(reason), 0])
    integers, missing = values.get("integer", (none, none.astype(bool)))
    # A missing integer is 0, so that whatever follows is defined.
    assert not integers[missing].any()
    return [
        (float(y[0]) if y else None, [None if m else int(n) for n, m in zip(ns, ms, strict=True)], cs, REASONS[r])
        for y, ns, ms, cs, r in zip(
            *(t.tolist() for t in (values.get("label", none), integers, missing, values.get("category", none), reason)), strict=True
        )
    ]


def tsv(*messages: bytes, run=eagerly, schema=SMALL):
    return rows(run(Parse(schema), list(messages)))


def from_json(*messages: bytes, run=eagerly, schema=SMALL):
    return rows(run(Parse(schema, find("json")), list(messages)))


# TSV


@both_ways
def test_good_rows(run):
    assert tsv(b"1\t5\t-3\tab\tcd", b"0\t0\t007\t68fd1e64\tx y", run=run) == [
        (1.0, [5, -3], [b"ab", b"cd"], ""),
        (0.0, [0, 7], [b"68fd1e64", b"x y"], ""),
    ]


@both_ways
def test_empty_fields_are_missing_values(run):
    assert tsv(b"1\t\t2\t\tcd", b"0\t\t\t\t", run=run) == [
        (1.0, [None, 2], [b"", b"cd"], ""),
        (0.0, [None, None], [b"", b""], ""),
    ]


@both_ways
def test_types_and_shapes(run):
    for messages in ([], [b"1\t5\t-3\tab\tcd"], [b"bad", b"1\t5\t-3\tab\tcd"]):
        fields = run(Parse(SMALL), messages)
        n = len(messages)
        assert tf.nest.map_structure(lambda t: (t.dtype, *t.shape), fields) == Fields(
            {
                "label": (tf.float32, n, 1),
                "integer": Integers((tf.int64, n, 2), (tf.bool, n, 2)),
                "category": (tf.string, n, 2),
            },
            (tf.int32, n),
        )


@both_ways
@pytest.mark.parametrize("message_format", ["tsv", "json"])
def test_an_empty_batch_is_no_rows(run, message_format):
    assert rows(run(Parse(SMALL, find(message_format)), [])) == []


@both_ways
def test_numbers_of_18_digits_are_read_to_the_last_digit(run):
    assert tsv(b"1\t999999999999999999\t-999999999999999999\ta\tb", run=run) == [
        (1.0, [999_999_999_999_999_999, -999_999_999_999_999_999], [b"a", b"b"], "")
    ]
    assert tsv(b"1\t1000000000000000000\t0\ta\tb", run=run) == [(*BAD, "number")]


BAD_ROWS = {
    b"": "empty",
    b"1\t5\t-3\tab\t\xff": "encoding",
    b"1\t5\t-3\tab\t\xc3": "encoding",  # é cut in half
    b"\xff\xfe": "encoding",
    b"1\t5\t-3\tab": "fields",
    b"1\t5\t-3\tab\tcd\t": "fields",
    b"1 5 -3 ab cd": "fields",
    b"1,5,-3,ab,cd": "fields",
    b"\t": "fields",
    b" ": "fields",
    b"1\t5\t-3\tab\tcd\r": "fields",
    b"1\t5\t-3\tab\tcd\n": "fields",
    b"1\t5\t-3\ta\rb\tcd": "fields",
    b"\t5\t-3\tab\tcd": "label",
    b"2\t5\t-3\tab\tcd": "label",
    b"01\t5\t-3\tab\tcd": "label",
    b"1.0\t5\t-3\tab\tcd": "label",
    b"-1\t5\t-3\tab\tcd": "label",
    b" 1\t5\t-3\tab\tcd": "label",
    b"\xef\xbb\xbf1\t5\t-3\tab\tcd": "label",  # a byte order mark
    b"label\tI1\tI2\tC1\tC2": "label",  # a header
    b"2\tx\t-3\tab\tcd": "label",  # the first that fits
    b"1\tx\t-3\tab\tcd": "number",
    b"1\t5\t-3.0\tab\tcd": "number",
    b"1\t5\t1e3\tab\tcd": "number",
    b"1\t5\t-\tab\tcd": "number",
    b"1\t5\t--3\tab\tcd": "number",
    b"1\t+5\t-3\tab\tcd": "number",
    b"1\t 5\t-3\tab\tcd": "number",
    b"1\t0x5\t-3\tab\tcd": "number",
    b"1\tnan\t-3\tab\tcd": "number",
    "1\t٣\t-3\tab\tcd".encode(): "number",  # an Arabic digit
    b"1\t5\t9223372036854775807\tab\tcd": "number",  # 19 digits, although an int64 could hold it
    b"1\t5\t9999999999999999999\tab\tcd": "number",
}


@pytest.mark.parametrize(("message", "reason"), BAD_ROWS.items())
def test_a_bad_row_has_a_reason_and_no_fields(message, reason):
    assert tsv(message) == [(*BAD, reason)]


@both_ways
def test_bad_rows_do_not_cost_their_batch(run):
    messages, expected = [b"1\t5\t-3\tab\tcd"], [(1.0, [5, -3], [b"ab", b"cd"], "")]
    for i, (message, reason) in enumerate(BAD_ROWS.items()):
        messages += [message, b"0\t%d\t\tab\t" % i]
        expected += [(*BAD, reason), (0.0, [i, None], [b"ab", b""], "")]
    assert tsv(*messages, run=run) == expected


def test_categories_may_hold_any_text_but_tabs_and_line_ends():
    values = ["é", "日本", "a,b", '"a"', "\\N", "a_b", "NaN", "null", "\x00", "\x0b", "\u2028", "😀", " "]
    messages = [f"1\t5\t-3\t{v}\t{v}x".encode() for v in values]
    assert tsv(*messages) == [(1.0, [5, -3], [v.encode(), v.encode() + b"x"], "") for v in values]


def test_the_label_may_stand_anywhere():
    schema = schema_of("C1:category", "I1:integer", "click:label", "C2:category", "I2:integer")
    assert tsv(b"a\t5\t1\tb\t6", b"a\t5\t2\tb\t6", schema=schema) == [(1.0, [5, 6], [b"a", b"b"], ""), (*BAD, "label")]


@pytest.mark.parametrize("message_format", ["tsv", "json"])
def test_columns_of_one_kind_alone(message_format):
    message = {"tsv": b"1\t7\t8", "json": b'["1", "7", 8]'}[message_format]
    numbers, texts = (Parse(schema_of("label:label", f"A1..A2:{kind}"), find(message_format)) for kind in ("integer", "category"))
    assert rows(eagerly(numbers, [message])) == [(1.0, [7, 8], [], "")]
    assert rows(eagerly(texts, [message])) == [(1.0, [], [b"7", b"8"], "")]


@both_ways
def test_rows_without_the_labels_field(run):
    parse = Parse(SMALL, labelled=False)
    assert rows(run(parse, [b"5\t-3\tab\tcd", b"\t\t\t", b"", b"1\t5\t-3\tab\tcd", b"5\t-3\tab", b"x\t-3\tab\tcd"])) == [
        (None, [5, -3], [b"ab", b"cd"], ""),
        (None, [None, None], [b"", b""], ""),
        (None, *BAD[1:], "empty"),
        (None, *BAD[1:], "fields"),
        (None, *BAD[1:], "fields"),
        (None, *BAD[1:], "number"),
    ]
    parse = Parse(SMALL, find("json"), labelled=False)
    assert rows(run(parse, [b'[5,-3,"ab","cd"]', b'["1",5,-3,"ab","cd"]', b'["",null,null,""]'])) == [
        (None, [5, -3], [b"ab", b"cd"], ""),
        (None, *BAD[1:], "fields"),
        (None, [None, None], [b"", b""], ""),
    ]


def test_the_label_that_is_left_out_may_stand_anywhere():
    schema = schema_of("C1:category", "I1:integer", "click:label", "C2:category", "I2:integer")
    assert rows(eagerly(Parse(schema, labelled=False), [b"a\t5\tb\t6", b"a\t5\t1\tb\t6"])) == [
        (None, [5, 6], [b"a", b"b"], ""),
        (None, *BAD[1:], "fields"),
    ]


@both_ways
def test_of_one_column_without_a_label_an_empty_message_is_no_row(run):
    schema = schema_of("click:label", "C1:category")
    assert rows(run(Parse(schema, labelled=False), [b"a", b"", b"a\tb", b"b"])) == [
        (None, [], [b"a"], ""),
        (None, [], [b""], "empty"),
        (None, [], [b""], "fields"),
        (None, [], [b"b"], ""),
    ]
    assert rows(run(Parse(schema, find("json"), labelled=False), [b'["a"]', b"", b'[""]', b"[null]"])) == [
        (None, [], [b"a"], ""),
        (None, [], [b""], "empty"),
        (None, [], [b""], ""),
        (None, [], [b""], ""),
    ]


def test_criteos_40_columns():
    values = [str(i) for i in range(-1, 12)] + [f"{i:08x}" for i in range(26)]
    good, short = ("\t".join(["1", *v]).encode() for v in (values, values[:-1]))
    integers, categories = list(range(-1, 12)), [v.encode() for v in values[13:]]
    assert tsv(good, short, schema=load_schema("configs/criteo.yaml")) == [
        (1.0, integers, categories, ""),
        (0.0, [None] * 13, [b""] * 26, "fields"),
    ]


def in_plain_python(message: bytes) -> tuple:
    """What a TSV message holds, by str.split."""
    if not message:
        return (*BAD, "empty")
    try:
        text = message.decode()
    except UnicodeDecodeError:
        return (*BAD, "encoding")
    fields = text.split("\t")
    if len(fields) != 5 or "\r" in text or "\n" in text:
        return (*BAD, "fields")
    label, numbers, categories = fields[0], fields[1:3], fields[3:]
    if label not in ("0", "1"):
        return (*BAD, "label")
    for digits in (n.removeprefix("-") for n in numbers if n):
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
            return (*BAD, "number")
    return float(label), [int(n) if n else None for n in numbers], [c.encode() for c in categories], ""


# No lead bytes of three and four: RE2 is lax about what may follow them.
SCRAPS = st.sampled_from(
    [b"0", b"1", b"-", b"9" * 17, b"\t", b"\r", b"\n", b"\x00", b" ", b"ab", b"\xc3\xa9", b"\xc3", b"\xa9", b"\xff"]
)
FIELDS = [
    st.sampled_from([b"0", b"1"]),
    st.integers(-(10**18), 10**18).map(b"%d".__mod__) | st.just(b""),
    st.integers(-10, 10).map(b"%d".__mod__) | st.just(b""),
    st.text(st.characters(blacklist_categories=["Cs"], max_codepoint=0x7FF)).map(str.encode),
    st.sampled_from([b"", b"68fd1e64"]),
]
GOOD = st.tuples(*FIELDS).map(b"\t".join)
GARBAGE = st.lists(SCRAPS, max_size=12).map(b"".join)
MIXED = st.lists(st.one_of(*FIELDS, GARBAGE), min_size=4, max_size=6).map(b"\t".join)


@settings(max_examples=100, deadline=None)
@given(st.lists(GOOD | GARBAGE | MIXED, max_size=8))
def test_any_batch_is_split_as_plain_python_splits_it(messages):
    assert tsv(*messages) == [in_plain_python(m) for m in messages]


# JSON


@both_ways
def test_json_values_are_strings_numbers_or_null(run):
    assert from_json(
        b'["1","5","-3","ab","cd"]',
        b'[0, 5, -3, "ab", 77]',
        b'["1", null, "", null, ""]',
        b' [ "1" ,\t5\r\n, "-3" , " ab " , "cd" ] \n',
        run=run,
    ) == [
        (1.0, [5, -3], [b"ab", b"cd"], ""),
        (0.0, [5, -3], [b"ab", b"77"], ""),
        (1.0, [None, None], [b"", b""], ""),
        (1.0, [5, -3], [b" ab ", b"cd"], ""),
    ]


def test_json_texts_that_look_like_syntax_stay_as_they_are():
    values = ["null", "nulla", "[", "]", "a]", "[a", "{}", ":", "é", "日本", "\u2028", "\x7f", "'", "true"]
    messages = [json.dumps(["1", 5, None, v, v + "x"], ensure_ascii=False).encode() for v in values]
    assert from_json(*messages) == [(1.0, [5, None], [v.encode(), v.encode() + b"x"], "") for v in values]


BAD_JSON = {
    b"": "empty",
    b'["1","5","-3","ab","\xff"]': "encoding",
    b"[]": "json",
    b"[ ]": "json",
    b"null": "json",
    b"7": "json",
    b"1\t5\t-3\tab\tcd": "json",  # TSV
    b'{"label":"1"}': "json",
    b'["1","5","-3","ab",["cd"]]': "json",  # nested
    b'["1","5","-3","ab",{"a":1}]': "json",
    b'["1",5.0,"-3","ab","cd"]': "json",
    b'["1",5e0,"-3","ab","cd"]': "json",
    b'[true,"5","-3","ab","cd"]': "json",
    b'["1","5","-3","ab","c,d"]': "json",  # good JSON without a vectorised form, and so the next two
    b'["1","5","-3","ab","c\\"d"]': "json",
    b'["1","5","-3","ab","\\u00e9"]': "json",
    b'["1","5","-3","ab","c\td"]': "json",  # no JSON: control characters must be escaped
    b'["1","5","-3","ab","c\nd"]': "json",
    b'["1","5","-3","ab","cd"': "json",  # torn
    b'["1","5","-3","ab","cd': "json",
    b'["1","5","-3","ab","cd",]': "json",
    b'["1","5","-3","ab","cd"]]': "json",
    b'["1","5","-3","ab","cd"] x': "json",
    b'["1","5","-3","ab" "cd"]': "json",
    b'["1",,"-3","ab","cd"]': "json",
    b"[1,5,-3,ab,cd]": "json",
    b'["1","5","-3","ab"]': "fields",
    b'["1","5","-3","ab","cd",""]': "fields",
    b'[null,"5","-3","ab","cd"]': "label",
    b'["01","5","-3","ab","cd"]': "label",
    b'["1","null","-3","ab","cd"]': "number",
    b'["1",9999999999999999999,"-3","ab","cd"]': "number",
}


@pytest.mark.parametrize(("message", "reason"), BAD_JSON.items())
def test_bad_json_has_a_reason_and_no_fields(message, reason):
    assert from_json(message) == [(*BAD, reason)]


@both_ways
def test_bad_json_does_not_cost_its_batch(run):
    messages = [m for bad in BAD_JSON for m in (bad, b'["0","1",null,"ab",""]')]
    expected = [row for reason in BAD_JSON.values() for row in ((*BAD, reason), (0.0, [1, None], [b"ab", b""], ""))]
    assert from_json(*messages, run=run) == expected


TEXT = st.text(st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters=',"\\'))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["0", "1", "2"]), st.none() | st.integers(-(10**19), 10**19), st.none() | st.integers(), TEXT,
            st.none() | TEXT,
        ),
        max_size=6,
    ),
    st.sampled_from([",", ", ", " ,\n "]),
    st.booleans(),
)  # fmt: skip
def test_the_json_form_of_a_row_equals_its_tsv_form(batch, comma, as_strings):
    plain = [["" if v is None else str(v) for v in row] for row in batch]
    written = plain if as_strings else [[int(row[0]), *row[1:]] for row in batch]
    as_json = [json.dumps(row, ensure_ascii=False, separators=(comma, ":")).encode() for row in written]
    assert from_json(*as_json) == tsv(*("\t".join(row).encode() for row in plain))


@pytest.mark.parametrize("name", FORMATS)
def test_the_text_of_a_row_in_a_column(name):
    label, *others = schema_of("label:label", "I1:integer", "C1:category").columns
    columns = [label, *others, {"name": "C2", "kind": "category", "default": "x"}]
    schema = Schema.model_validate({"name": "texts", "columns": columns})
    parse = Parse(schema, FORMATS[name])
    message = FORMATS[name].encode(["1", "5", "grün", ""], schema.columns)
    assert [parse.text(message, column) for column in ("C1", "C2")] == ["grün", "x"]
