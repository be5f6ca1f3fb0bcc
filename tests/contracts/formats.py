"""What every format of messages has to hold to. check_format(format) is for a format of one's own, too; it needs no pytest."""

import json

import tensorflow as tf

from tfonline.features.schema import Schema
from tfonline.formats import of, served
from tfonline.formats.explain import explain
from tfonline.formats.reasons import REASONS


def _schema(*columns):
    columns = [dict(zip(("name", "kind"), column.split(":"), strict=True)) for column in columns]
    return Schema.model_validate({"name": "contract", "columns": columns})


SMALL = _schema("label:label", "I1..I2:integer", "C1..C2:category")
MIXED = _schema("C1:category", "I1:integer", "click:label", "C2:category", "I2:integer")
ONE = [_schema("label:label", f"A1:{kind}") for kind in ("integer", "category")]
ROW = ["1", "5", "-3", "ab", "cd"]
# Rows of SMALL that have a message in any format, and the reason why it is refused.
REFUSED = [
    (ROW[:4], "fields"),
    ([*ROW, "x"], "fields"),
    (["2", *ROW[1:]], "label"),
    (["", *ROW[1:]], "label"),
    (["yes", "1.5", *ROW[2:]], "label"),  # the first that fits
    (["1", "1.5", *ROW[2:]], "number"),
    (["1", "5", "9" * 19, *ROW[3:]], "number"),
]
_BAD = ["0", "", "", "", ""]  # the texts of a refused row


def columns_of(schema, labelled=True):
    return [column for column in schema.columns if labelled or column.kind != "label"]


def decoded(form, messages, columns):
    """(texts, reason's name) of each message, by a graph as the pipeline has it."""
    batch = tf.data.Dataset.from_tensors(tf.constant(messages, tf.string))
    text, reason = next(iter(batch.map(lambda message: form.decode(message, columns))))
    assert text.shape == [len(messages), len(columns)], text.shape
    return [([t.decode() for t in row], REASONS[r]) for row, r in zip(text.numpy().tolist(), reason.numpy(), strict=True)]


def encoded(form, rows, columns=None):
    """Messages of rows of texts; of SMALL where no columns are given."""
    return [form.encode(row, columns or columns_of(SMALL)) for row in rows]


def attempt(form, fields, columns):
    """A row's message and '', or None and why the format does not write it."""
    try:
        return form.encode(fields, columns), ""
    except ValueError as e:
        return None, str(e)


def fields_come_back(form, refused):
    rows = [
        ROW,
        ["0", "0", "007", "68fd1e64", "x y"],
        ["1", "9" * 18, "-" + "9" * 18, "grün", "日本"],
        ["0", "1", "2", " a ", "null"],
    ]
    assert decoded(form, encoded(form, rows), columns_of(SMALL)) == [(row, "") for row in rows]
    unlabelled = [row[1:] for row in rows]
    assert decoded(form, encoded(form, unlabelled, columns_of(SMALL, False)), columns_of(SMALL, False)) == [
        (row, "") for row in unlabelled
    ]
    mixed = ["ab", "5", "1", "cd", "-3"]
    assert decoded(form, encoded(form, [mixed], columns_of(MIXED)), columns_of(MIXED)) == [(mixed, "")]


def a_value_may_be_missing(form, refused):
    rows = [[*ROW[:i], "", *ROW[i + 1 :]] for i in range(1, 5)] + [["1", "", "", "", ""]]
    assert decoded(form, encoded(form, rows), columns_of(SMALL)) == [(row, "") for row in rows]


def a_refused_row_is_refused_alone(form, refused):
    of_texts = [(fields, reason) for fields, reason in REFUSED if reason != "fields" or not form.named]
    bad = [(*encoded(form, [fields]), reason) for fields, reason in of_texts] + [(b"", "empty"), *refused.items()]
    messages, expected = encoded(form, [ROW]), [(ROW, "")]
    for i, (message, reason) in enumerate(bad):
        good = ["0", str(i), "", f"after {i}", ""]
        messages += [message, *encoded(form, [good])]
        expected += [(_BAD, reason), (good, "")]
    assert decoded(form, messages, columns_of(SMALL)) == expected
    assert decoded(form, [message for message, _ in bad], columns_of(SMALL)) == [(_BAD, reason) for _, reason in bad]
    eagerly = form.decode(tf.constant(messages), columns_of(SMALL)).reason
    assert [REASONS[r] for r in eagerly.numpy()] == [reason for _, reason in expected]


def a_damaged_message_is_refused(form, refused):
    [whole] = encoded(form, [ROW])
    damaged = [whole[: len(whole) // 2], b"\xff\xfe", b" "]
    found = decoded(form, [whole, *(m for d in damaged for m in (d, whole))], columns_of(SMALL))
    assert found[::2] == [(ROW, "")] * 4
    assert all(texts == _BAD and reason for texts, reason in found[1::2]), found


def no_row_is_lost_doubled_or_moved(form, refused):
    rows = [["0", str(i), "", f"c{i}", ""] for i in range(1000)]
    bad = {i for i in range(1000) if i % 7 == 3}
    messages = encoded(form, [["2", *ROW[1:]] if i in bad else row for i, row in enumerate(rows)])
    expected = [(_BAD, "label") if i in bad else (row, "") for i, row in enumerate(rows)]
    assert decoded(form, messages, columns_of(SMALL)) == expected
    assert decoded(form, [], columns_of(SMALL)) == []


def an_example_is_taken(form, refused):
    for schema in (SMALL, MIXED, *ONE):
        for labelled in (True, False):
            columns = columns_of(schema, labelled)
            [(_, reason)] = decoded(form, [form.example(columns)], columns)
            assert reason == "", (schema.names, labelled, reason)


def what_is_written_is_read_or_its_field_is_named(form, refused):
    written = []
    for character in (*map(chr, range(256)), "\u2028", "日", "😀"):
        value = f"a{character}b"
        row = [*ROW[:3], value, "cd"]
        message, refusal = attempt(form, row, columns_of(SMALL))
        if refusal:
            assert refusal.startswith(f"field 4, {value!r}, "), refusal
        else:
            written.append((message, row))
    messages, rows = zip(*written, strict=True)
    assert decoded(form, messages, columns_of(SMALL)) == [(row, "") for row in rows]
    for schema in ONE:
        message, refusal = attempt(form, [""], columns_of(schema, False))
        if refusal:
            assert refusal.startswith("field 1, '', "), refusal
        else:
            assert decoded(form, [message], columns_of(schema, False)) == [([""], "")]


def serving_can_run_it(form, refused):
    if not form.in_graph:
        assert served(form).in_graph
        return
    decode = tf.function(lambda message: form.decode(message, columns_of(SMALL)), autograph=False)
    graph = decode.get_concrete_function(tf.TensorSpec([None], tf.string)).graph
    text, reason = graph.structured_outputs
    assert (text.dtype, text.shape.as_list(), reason.dtype, reason.shape.rank) == (tf.string, [None, 5], tf.int32, 1)
    graph = graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    assert not [node.op for node in nodes if "PyFunc" in node.op]  # one saves without a word, and fails in serving


def what_is_wrong_is_said(form, refused):
    [message] = encoded(form, [ROW])
    assert form.texts(message, columns_of(SMALL)) == ROW
    assert explain(message, columns_of(SMALL), form) == ""
    of_texts = [fields for fields, reason in REFUSED if reason != "fields" or not form.named]
    for message in (*encoded(form, of_texts), *refused):
        assert explain(message, columns_of(SMALL), form), message


def it_says_what_it_holds_whatever_the_columns(form, refused):
    if not form.lines:
        return
    [message] = encoded(form, [ROW])
    found = form.contents(message)
    assert isinstance(found, dict) == form.named
    of_columns = [found[name] for name in SMALL.names] if form.named else found
    assert [str(value) for value in of_columns] == ROW
    try:
        form.contents(b"\xff\xfe")
    except ValueError:
        return
    raise AssertionError("what is no text at all is no message")


def it_knows_its_own_messages(form, refused):
    if not form.lines:
        assert not any(form.resembles(text, 5) for text in ("", "a", "1\t2\t3\t4\t5", "{}", "\0\0"))
        assert "5" in form.expected(5)
        return
    text = encoded(form, [ROW])[0].decode()
    assert form.resembles(text, 5)
    assert form.fault(text, SMALL) == ""
    assert "5" in form.expected(5)


def it_is_made_again_of_plain_data(form, refused):
    again = of(json.loads(json.dumps(form.about)))
    messages = [*encoded(form, [ROW, [*ROW[:1], "", "", "", ""]]), *refused]
    assert decoded(again, messages, columns_of(SMALL)) == decoded(form, messages, columns_of(SMALL))
    assert encoded(again, [ROW]) == encoded(form, [ROW])


CHECKS = (
    fields_come_back, a_value_may_be_missing, a_refused_row_is_refused_alone, a_damaged_message_is_refused,
    no_row_is_lost_doubled_or_moved, an_example_is_taken, what_is_written_is_read_or_its_field_is_named, serving_can_run_it,
    what_is_wrong_is_said, it_says_what_it_holds_whatever_the_columns, it_knows_its_own_messages, it_is_made_again_of_plain_data,
)  # fmt: skip


def check_format(form, refused=None):
    """Holds a format to its contract.

    Args:
      form: see formats.Format.
      refused: messages of SMALL that only this format would be given, and the reason why each is refused.

    Raises:
      AssertionError: it breaks the contract.
    """
    for check in CHECKS:
        check(form, refused or {})
