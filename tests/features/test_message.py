"""What the project writes, its trainer reads: rows through the writer and the parser give the fields that their TSV gives."""

import json
import re

import produce as produce_tool
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st
from process_data_helpers import SMALL_YAML
from produce_messages import messages_of
from produce_rows import Rows
from rows import SMALL_SCHEMA

from tfonline import formats
from tfonline.features.parse import Parse
from tfonline.formats.reasons import REASONS

# A value of a category, as TSV can hold it: any text but tabs and line ends.
VALUE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\r\n"), max_size=8)
ROW = st.tuples(st.sampled_from(["0", "1", "x"]), st.sampled_from(["", "-3", "007", "1.5"]), st.just("12"), VALUE, VALUE)


def parsed(message, message_format):
    """The typed values by kind, and the reason, of one message."""
    values, reason, _ = Parse(SMALL_SCHEMA, formats.find(message_format))(tf.constant([message]))
    return tf.nest.map_structure(lambda t: t.numpy().tolist(), values), REASONS[reason[0]]


@pytest.fixture(scope="module")
def encode(tmp_path_factory):
    """produce.py's writer of JSON messages: a line to its key and value."""
    path = tmp_path_factory.mktemp("columns") / "small.yaml"
    path.write_text(SMALL_YAML)
    messages = messages_of(produce_tool._parse(["--format=json", f"--columns={path}", "-"]), "")

    def encode(line):
        refused = []
        for message in messages.of_rows(Rows(None, [line], "line", [1]), refused.append):
            return message.key, message.value
        raise ValueError(refused[0])

    return encode


@settings(max_examples=200, deadline=None)
@given(ROW)
@example(("1", "5", "-3", "grün", "日本"))
@example(("1", "5", "-3", "\U0001f600", "\x7f\x85\u2028"))
@example(("1", "", "", "", ""))
@example(("1", "5", "-3", "null", "['a']"))
@example(("1", "5", "-3", "a,b", ""))
@example(("1", "5", "-3", 'a"b', "a\\b"))
@example(("1", "5", "-3", "\x00", "\x1f"))
def test_a_json_message_gives_the_fields_of_its_tsv_or_is_not_written(encode, row):
    line = "\t".join(row).encode()
    try:
        key, message = encode(line)
    except ValueError:
        # Only what the reader would not take either.
        as_list = parsed(json.dumps(row, ensure_ascii=False).encode(), "json")
        assert as_list[1] == "json"
    else:
        assert json.loads(key) == ["label", "I1", "I2", "C1", "C2"]
        assert json.loads(message) == list(row)
        assert parsed(message, "json") == parsed(line, "tsv")


def test_letters_beyond_ascii_are_read_as_they_were_written(encode):
    _, message = encode("1\t5\t-3\tgrün\t日本".encode())
    assert message == '["1", "5", "-3", "grün", "日本"]'.encode()
    values, reason = parsed(message, "json")
    assert (values["category"], reason) == (parsed("1\t5\t-3\tgrün\t日本".encode(), "tsv")[0]["category"], "")


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("a,b", "field 4, 'a,b', holds a comma"),
        ('a"b', "field 4, 'a\"b', holds a quote"),
        ("a\\b", r"field 4, 'a\\b', holds a backslash"),
        ("a\rb", r"field 4, 'a\rb', holds a carriage return"),
        ("a\x00b", r"field 4, 'a\x00b', holds the control character U+0000"),
        ("a" * 60 + ",", f"field 4, '{'a' * 40}'..., holds a comma"),
    ],
)
def test_a_value_without_a_json_form_is_named(encode, value, what):
    with pytest.raises(ValueError, match=re.escape(f"{what}, which the trainer does not read in a json message")):
        encode(f"1\t5\t-3\t{value}\tcd".encode())


def test_a_line_that_is_not_utf8_is_not_written_as_another_one(encode):
    with pytest.raises(ValueError, match="it is not UTF-8 text \\(byte 3 is 0xff\\)"):
        encode(b"1\t\xff\t-3\tab\tcd")


def test_tsv_messages():
    assert formats.find("tsv").encode(["1", "5", "", 'a,"b\\', "é"], ()) == b'1\t5\t\ta,"b\\\t\xc3\xa9'
    with pytest.raises(ValueError, match="field 2, 'a\\\\tb', holds a tab, which the trainer does not read in a tsv message"):
        formats.find("tsv").encode(["1", "a\tb"], ())
