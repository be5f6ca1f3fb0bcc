"""Protobuf messages of typed fields: each type's text, the two ways of reading, and messages as no serializer writes them."""

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from hypothesis import example, given
from hypothesis import strategies as st

from tfonline.features.schema import Schema
from tfonline.formats.by_python import Refused
from tfonline.formats.framing import header, indexes
from tfonline.formats.protobuf import Protobuf
from tfonline.formats.reasons import REASONS
from tfonline.formats.schemas import Written

F = descriptor_pb2.FieldDescriptorProto
SCALARS = {
    "double": F.TYPE_DOUBLE, "float": F.TYPE_FLOAT, "int64": F.TYPE_INT64, "uint64": F.TYPE_UINT64, "int32": F.TYPE_INT32,
    "fixed64": F.TYPE_FIXED64, "fixed32": F.TYPE_FIXED32, "bool": F.TYPE_BOOL, "string": F.TYPE_STRING, "bytes": F.TYPE_BYTES,
    "uint32": F.TYPE_UINT32, "sfixed32": F.TYPE_SFIXED32, "sfixed64": F.TYPE_SFIXED64, "sint32": F.TYPE_SINT32,
    "sint64": F.TYPE_SINT64,
}  # fmt: skip


def make_file():
    """shop.proto: Row has all scalars, plain and (o_...) optional, an enum, nested items, a list, a oneof and a timestamp."""
    file = descriptor_pb2.FileDescriptorProto(
        name="shop.proto", package="shop", syntax="proto3", dependency=[timestamp_pb2.DESCRIPTOR.name]
    )
    color = file.enum_type.add(name="Color")
    for number, name in enumerate(("NONE", "RED", "BLUE")):
        color.value.add(name=name, number=number)
    file.message_type.add(name="Other").field.add(name="x", number=1, label=1, type=F.TYPE_STRING)
    row = file.message_type.add(name="Row")
    item = row.nested_type.add(name="Item")
    item.field.add(name="price", number=1, label=1, type=F.TYPE_DOUBLE)
    item.field.add(name="name", number=2, label=1, type=F.TYPE_STRING)
    number = 0
    for name, kind in SCALARS.items():
        for optional in (False, True):
            number += 1
            field = row.field.add(name=f"{'o_' * optional}{name}", number=number, label=1, type=kind)
            if optional:
                field.proto3_optional, field.oneof_index = True, len(row.oneof_decl)
                row.oneof_decl.add(name=f"_o_{name}")
    row.field.add(name="color", number=100, label=1, type=F.TYPE_ENUM, type_name=".shop.Color")
    row.field.add(name="item", number=101, label=1, type=F.TYPE_MESSAGE, type_name=".shop.Row.Item")
    row.field.add(name="tags", number=102, label=3, type=F.TYPE_STRING)
    row.field.add(name="at", number=103, label=1, type=F.TYPE_MESSAGE, type_name=".google.protobuf.Timestamp")
    row.field.add(name="last", number=2000, label=1, type=F.TYPE_STRING)
    index = len(row.oneof_decl)
    row.oneof_decl.add(name="either")
    row.field.add(name="this", number=104, label=1, type=F.TYPE_STRING, oneof_index=index)
    row.field.add(name="that", number=105, label=1, type=F.TYPE_STRING, oneof_index=index)
    # Oneofs that a person wrote stand before those of optional fields.
    for field in row.field:
        if field.HasField("oneof_index"):
            field.oneof_index = 0 if field.oneof_index == index else field.oneof_index + 1
    names = [oneof.name for oneof in row.oneof_decl]
    for oneof, name in zip(row.oneof_decl, [names[-1], *names[:-1]], strict=True):
        oneof.name = name
    return file


STAMP = descriptor_pb2.FileDescriptorProto.FromString(timestamp_pb2.DESCRIPTOR.serialized_pb)
SET = descriptor_pb2.FileDescriptorSet(file=[STAMP, make_file()]).SerializeToString()
POOL = descriptor_pool.DescriptorPool()
for each in descriptor_pb2.FileDescriptorSet.FromString(SET).file:
    POOL.Add(each)
Row = message_factory.GetMessageClass(POOL.FindMessageTypeByName("shop.Row"))
FORM = Protobuf(SET, "shop.Row")


def columns_of(*paths, **kinds):
    columns = [{"name": "label", "kind": "label"}]
    columns += [{"name": f"c{i}", "path": path, **kinds.get(path, {"kind": "category"})} for i, path in enumerate(paths)]
    return Schema.model_validate({"name": "t", "columns": columns}).unlabelled


def read(messages, *paths, form=FORM, **kinds):
    raw = [m if isinstance(m, bytes) else m.SerializeToString() for m in messages]
    texts, reasons = form.canonical(raw, columns_of(*paths, **kinds))
    return [(text.decode(), REASONS[reason]) for text, reason in zip(texts, reasons, strict=True)]


VALUES = {
    "double": (-2.5, "-2.5"), "float": (0.1, "0.1"), "int64": (-(2**63), str(-(2**63))), "uint64": (2**64 - 1, str(2**64 - 1)),
    "int32": (-5, "-5"), "fixed64": (2**64 - 1, str(2**64 - 1)), "fixed32": (2**32 - 1, str(2**32 - 1)), "bool": (True, "true"),
    "string": ("grün", "grün"), "bytes": ("é".encode(), "é"), "uint32": (2**32 - 1, str(2**32 - 1)), "sfixed32": (-7, "-7"),
    "sfixed64": (-8, "-8"), "sint32": (-(2**31), str(-(2**31))), "sint64": (-(2**63), str(-(2**63))),
}  # fmt: skip
ABSENT = {"double": "0.0", "float": "0.0", "bool": "false", "string": "", "bytes": ""}


@pytest.mark.parametrize("optional", ["", "o_"])
@pytest.mark.parametrize("kind", SCALARS)
def test_the_text_of_a_type(kind, optional):
    value, text = VALUES[kind]
    name = optional + kind
    absent = "" if optional else ABSENT.get(kind, "0")
    rows = [Row(**{name: value}, last="k"), Row(last="k"), Row(**{name: type(value)()}, last="k")]
    zero = "" if kind in ("string", "bytes") else ABSENT.get(kind, "0")
    expected = [(f"{text}\tk", ""), (f"{absent}\tk", ""), (f"{zero}\tk", "")]
    assert read(rows, name, "last") == expected
    # A field out of order has the library read the row.
    odd = Row(last="k").SerializeToString()
    assert read([odd + Row(**{name: value}).SerializeToString()], name, "last") == expected[:1]


def test_enums_are_their_names():
    rows = [Row(color=2), Row(last="k"), Row(color=7)]
    assert read(rows, "color") == [("BLUE", ""), ("NONE", ""), ("7", "")]


def test_a_path_leads_through_messages():
    rows = [Row(item={"price": 2.5, "name": "n"}), Row(item={}), Row(last="k"), Row(item={"name": "m"}, last="l")]
    assert read(rows, "item.price", "last", "item.name") == [("2.5\t\tn", ""), ("0.0\t\t", ""), ("\tk\t", ""), ("0.0\tl\tm", "")]
    assert [reason for _, reason in read(rows, "item")] == ["type", "type", "", "type"]
    assert FORM.unknown(columns_of("item.price", "item.prize", "last.x")) == ["item.prize", "last.x"]
    with pytest.raises(ValueError, match="item is a message, expected is a text"):
        FORM.texts(rows[0].SerializeToString(), columns_of("item"))


def test_a_field_that_is_there_twice_counts_as_the_library_says():
    first, second = Row(int64=1, item={"price": 1}).SerializeToString(), Row(int64=2, item={"name": "n"}).SerializeToString()
    assert read([first + second, first], "int64", "item.price", "item.name") == [("2\t1.0\tn", ""), ("1\t1.0\t", "")]
    assert read([Row(this="a").SerializeToString() + Row(that="b").SerializeToString()], "this", "that") == [("\tb", "")]


def test_lists_are_refused_unless_they_are_empty():
    assert read([Row(tags=["a"]), Row(last="k"), Row(tags=["a", "b"])], "tags") == [("", "type"), ("", ""), ("", "type")]
    assert read([Row(tags=["a", "b"], last="k")], "last") == [("k", "")]


def test_a_timestamp_is_in_the_columns_unit():
    rows = [Row(at={"seconds": 1_700_000_000, "nanos": 987_654_321})]
    for unit, text in (("s", "1700000000"), ("ms", "1700000000987"), ("us", "1700000000987654")):
        assert read([*rows, Row(last="k")], "at", at={"kind": "time", "unit": unit}) == [(text, ""), ("", "")]
        columns = columns_of("at", at={"kind": "time", "unit": unit})
        assert FORM.texts(FORM.encode([text], columns), columns) == [text]
    assert read(rows, "at") == [("1700000000", "")]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (Row(last="kkk").SerializeToString()[:-1], "protobuf"),
        (b"\x80", "protobuf"),
        (b"\x01", "protobuf"),
        (b"\x0f", "protobuf"),
        (b"\xff" * 11, "protobuf"),
        (Row(last="a\tb").SerializeToString(), "type"),
    ],
)
def test_a_bad_row_is_refused_alone(message, reason):
    good = Row(bytes=b"x", last="k")
    found = read([good, message, good], "bytes", "last")
    assert found == [("x\tk", ""), ("", reason), ("x\tk", "")]


def test_a_message_of_thousands_of_fields_is_read():
    def varint(n):
        return bytes([n & 127 | 128, n >> 7 & 127 | 128, n >> 14]) if n >= 2**14 else bytes([n & 127 | 128, n >> 7])

    unknown = b"".join(varint(number << 3) + b"\1" for number in range(3000, 6000))
    assert read([Row(last="k").SerializeToString() + unknown, Row(last="l")], "last") == [("k", ""), ("l", "")]


def test_a_frame_names_the_type():
    schemas = {"5": Written("PROTOBUF", "", {})._asdict()}
    form = Protobuf(SET, "shop.Row", "confluent", schemas)
    payload = Row(last="k").SerializeToString()
    assert indexes([0]) == b"\0"
    assert indexes([1]) == b"\x02\x02"
    assert indexes([1, 0]) == b"\x04\x02\x00"
    assert indexes([200]) == b"\x02\x90\x03"
    framed = [header(5) + indexes(path) + payload for path in ([1], [0], [1, 0])] + [
        header(5) + b"\x02\x02",
        header(5),
        header(6) + b"\x02\x02",
    ]
    assert read(framed, "last", form=form) == [
        ("k", ""),
        ("", "framing"),
        ("", "framing"),
        ("", ""),
        ("", "framing"),
        ("", "framing"),
    ]
    with pytest.raises(ValueError, match=r"its frame names another type of the schema than shop\.Row, which is number 1"):
        form.texts(framed[1], columns_of("last"))
    other = Protobuf(SET, "shop.Other", "confluent", schemas)
    x = b"\x0a\x01k"
    for path in (b"\0", b"\x02\0"):  # the short form and the long one of the first type
        assert read([header(5) + path + x], "x", form=other) == [("k", "")]
    assert read([header(5) + b"\x02\x02" + x, header(5) + b"\x02"], "x", form=other) == [("", "framing")] * 2


@given(st.lists(st.sampled_from(list(VALUES)), max_size=8), st.binary(max_size=20), st.booleans())
def test_both_ways_of_reading_agree(names, noise, again):
    message = Row(**{name: VALUES[name][0] for name in names}).SerializeToString()
    for raw in (message, message + noise, noise, message * (1 + again)):
        columns = columns_of(*(name for name in VALUES if name != "bytes"), "item.price")
        [text], [reason] = FORM.canonical([raw], columns)
        _, messages = FORM._of(columns)
        if raw and not reason:
            assert text.decode().split("\t") == messages.texts(raw)


TEXTS = columns_of(*(f"t{i}" for i in range(20)), "t3")  # numbers of one byte and of two, and a field for two columns
OF_TEXTS = Protobuf()
TEXT = st.one_of(st.just(""), st.text(st.sampled_from("aé\x02\x12"), max_size=3), st.sampled_from(["x" * 127, "x" * 128, "\t"]))


@st.composite
def damaged(draw):
    """A message of a few texts, most of which are as a serializer writes it."""
    _, messages = OF_TEXTS._of(TEXTS[:20])
    texts = st.dictionaries(st.sampled_from([f"t{i}" for i in range(20)]), TEXT, max_size=6)
    raw, again = (messages._class(**draw(texts)).SerializeToString() for _ in range(2))
    cut, noise = draw(st.integers(0, 3)), draw(st.binary(max_size=4))
    unknown = draw(st.sampled_from([b"", b"\xaa\x06\x01k", b"\xa8\x06\x05", b"\xaa\xa3\x05\x01k"]))  # of numbers 101 and 11333
    return draw(st.sampled_from([raw, raw, raw, raw + unknown, raw[: len(raw) - cut], raw + noise, noise + raw, raw + again]))


# A length of two bytes of which the first could be taken for all of it: what follows would be a text of t2, which is not there.
LONG = b"\x0a\x80\x01" + b"x" * 127 + b"\x1a" + b"\x12\x11" + b"y" * 17
# More fields than the type has.
MANY = b"\x0a\x01a" * 20 + b"\x0a\x01b"


@given(st.lists(damaged(), min_size=1, max_size=6))
@example([LONG, MANY])
def test_texts_are_read_as_the_library_does_each_message_by_itself(raw):
    _, messages = OF_TEXTS._of(TEXTS[:20])
    for message, row, reason in zip(raw, *OF_TEXTS.canonical(raw, TEXTS), strict=True):
        try:
            texts, expected = messages.texts(message), 0
        except Refused as e:
            texts, expected = [], e.reason
        if reason or not expected:
            assert reason == expected
            assert row == ("\t".join([*texts, texts[3]]).encode() if message and texts else b"")
        else:  # what is no UTF-8 is found by what looks at the texts
            assert "\ufffd" in row.decode(errors="replace")


def test_a_type_of_texts_may_have_fields_of_large_numbers():
    file = descriptor_pb2.FileDescriptorProto(name="wide.proto", syntax="proto3")
    wide = file.message_type.add(name="Wide")
    for name, number in (("label", 1), ("a", 2047), ("b", 2048), ("c", 70_000)):
        wide.field.add(name=name, number=number, label=1, type=F.TYPE_STRING)
    form, columns = Protobuf(descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString(), "Wide"), columns_of("a", "b", "c")
    messages = [form.encode(row, columns) for row in (["x", "y", "z"], ["x", "", ""])]
    assert form.canonical(messages, columns) == ([b"x\ty\tz", b"x\t\t"], [0, 0])


def test_a_character_does_not_begin_in_one_text_and_end_in_the_next():
    import tensorflow as tf

    rows = [Row(bytes=b"\xc3", last="\u00e9"), Row(bytes=b"\xc3", o_bytes=b"\xa9"), Row(bytes=b"\xc3\xa9", o_bytes=b"k")]
    found = FORM.decode(tf.constant([row.SerializeToString() for row in rows]), columns_of("bytes", "o_bytes"))
    assert [REASONS[reason] for reason in found.reason] == ["encoding", "encoding", ""]
    assert found.text.numpy().tolist() == [[b"", b""], [b"", b""], ["é".encode(), b"k"]]
    # Where all are valid no row is looked at, and so it has to be found that these are not.
    found = FORM.decode(tf.constant([rows[1].SerializeToString()]), columns_of("bytes", "o_bytes"))
    assert [REASONS[reason] for reason in found.reason] == ["encoding"]


def test_a_set_says_what_it_lacks():
    with pytest.raises(
        ValueError, match=r"message_type says which of its types the messages have: one of .*shop\.Other, shop\.Row"
    ):
        Protobuf(SET)
    with pytest.raises(ValueError, match=r"it has no type 'shop\.No'; expected one of"):
        Protobuf(SET, "shop.No")
    with pytest.raises(ValueError, match="it is no descriptor set"):
        Protobuf(b"\xff\xff", "shop.Row")
