"""A reader of Protobuf messages, made of their type: all messages of a batch at once. Imports no TensorFlow.

It reads messages as serializers write them: each field once at most, in the order of their numbers. The library decides about all
others, see protobuf_message. Wire format: https://protobuf.dev/programming-guides/encoding/.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfonline.formats.cursor import Cursor, Rows
from tfonline.formats.protobuf_texts import MOST_NUMBER, Texts
from tfonline.formats.protobuf_type import is_repeated

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_ODD = "protobuf"
_NO_TAG = 2**62
_MOST_FIELDS = 2000  # a message has, of all those that are read side by side


class Field:
    """How the values of a field are read.

    Args:
      field: its descriptor.
    """

    def __init__(self, field: "FieldDescriptor"):
        self.name, self.columns, self.inside = field.name, [], None
        self._type, self._field = field.type, field
        f = field
        if f.type in (f.TYPE_DOUBLE, f.TYPE_FIXED64, f.TYPE_SFIXED64):
            self.wire = _FIXED64
        elif f.type in (f.TYPE_FLOAT, f.TYPE_FIXED32, f.TYPE_SFIXED32):
            self.wire = _FIXED32
        elif f.type in (f.TYPE_STRING, f.TYPE_BYTES, f.TYPE_MESSAGE):
            self.wire = _LENGTH
        else:
            self.wire = _VARINT
        self.default = None if f.has_presence or is_repeated(f) else _default(f)

    def read(self, cursor: Cursor, rows: np.ndarray) -> None:
        """Moves behind the value and puts its texts; rows are refused that the library has to read."""
        f, columns = self._field, self.columns
        match self.wire:
            case 0:
                value = cursor.varint(rows, self.name)
                if f.type == f.TYPE_BOOL:
                    cursor.put_truths(columns, rows, value != 0)
                elif f.type == f.TYPE_ENUM:
                    self._enum(cursor, rows, value.astype(np.uint32).view(np.int32))
                elif f.type in (f.TYPE_SINT32, f.TYPE_SINT64):
                    value = value.astype(np.uint32).astype(np.uint64) if f.type == f.TYPE_SINT32 else value
                    signed = (value >> np.uint64(1)).view(np.int64) ^ -(value & np.uint64(1)).view(np.int64)
                    cursor.put_integers(columns, rows, signed)
                elif f.type == f.TYPE_INT32:
                    cursor.put_integers(columns, rows, value.astype(np.uint32).view(np.int32).astype(np.int64))
                elif f.type == f.TYPE_UINT32:
                    cursor.put_integers(columns, rows, value.astype(np.uint32).astype(np.int64))
                else:
                    cursor.put_integers(columns, rows, value.view(np.int64) if f.type == f.TYPE_INT64 else value)
            case 1:
                raw = np.ascontiguousarray(cursor.fixed(rows, 8, self.name))
                self._fixed(cursor, rows, raw, {f.TYPE_DOUBLE: "<f8", f.TYPE_FIXED64: "<u8", f.TYPE_SFIXED64: "<i8"}[f.type])
            case 5:
                raw = np.ascontiguousarray(cursor.fixed(rows, 4, self.name))
                self._fixed(cursor, rows, raw, {f.TYPE_FLOAT: "<f4", f.TYPE_FIXED32: "<u4", f.TYPE_SFIXED32: "<i4"}[f.type])
            case _:
                start, length = cursor.counted(rows, False, self.name)
                if self.inside is None:
                    cursor.put(columns, rows, start, length)
                else:
                    self.inside.read_inside(cursor, rows, start, length)

    def _fixed(self, cursor: Cursor, rows: np.ndarray, raw: np.ndarray, dtype: str) -> None:
        value = raw.view(dtype)[:, 0]
        if not self.columns:
            return
        if dtype == "<f8":
            cursor.put_texts(self.columns, rows, list(map(repr, value.tolist())))
        elif dtype == "<f4":
            cursor.put_texts(self.columns, rows, [str(v) for v in value])
        else:
            cursor.put_integers(self.columns, rows, value.astype(np.uint64 if dtype == "<u8" else np.int64))

    def _enum(self, cursor: Cursor, rows: np.ndarray, number: np.ndarray) -> None:
        names = self._field.enum_type.values_by_number
        found, index = np.unique(number, return_inverse=True)
        unknown = np.array([int(n) not in names for n in found], bool)[index]
        if unknown.any():
            cursor.refuse(rows, unknown, _ODD, lambda _: "")
        if self.columns:
            cursor.put_named(self.columns, rows, [names[n].name if n in names else "" for n in found.tolist()], index)


class Type:
    """How messages of a type are read.

    Args:
      descriptor: of the type.
      paths: of the columns in it, fields' names from here down; None: of none.
      columns: their numbers.
    """

    def __init__(self, descriptor: "Descriptor", paths: Sequence[Sequence[str]], columns: Sequence[int]):
        self._fields: dict[int, Field] = {}
        inside: dict[str, list[int]] = {}
        for i, (name, *_) in enumerate(paths):
            inside.setdefault(name, []).append(i)
        for name, chosen in inside.items():
            field = descriptor.fields_by_name[name]
            made = self._fields[field.number] = Field(field)
            made.columns = [columns[i] for i in chosen if len(paths[i]) == 1]
            deeper = [i for i in chosen if len(paths[i]) > 1]
            if deeper:
                made.inside = Type(field.message_type, [paths[i][1:] for i in deeper], [columns[i] for i in deeper])
        self._texts = None
        of_texts = all(Field(field).wire == _LENGTH and field.number <= MOST_NUMBER for field in descriptor.fields)
        if of_texts and not any(f.inside for f in self._fields.values()):
            wanted = {number: field.columns for number, field in self._fields.items()}
            self._texts = Texts(wanted, most=len(descriptor.fields))
        self._defaults = [(field.columns, field.default) for field in self._fields.values() if field.default]

    def read(self, cursor: Cursor, rows: Rows) -> None:
        """Reads rows up to their ends; refuses those that the library has to read, whatever is wrong with them."""
        rows = cursor.numbers(rows)
        if self._texts and not len(rows := self._texts.read(cursor, rows)):
            return
        for columns, text in self._defaults:
            cursor.put_named(columns, rows, [text], np.zeros(len(rows), np.int64))
        # The tag of the next field of each, a number and a wire type; behind the last one _NO_TAG.
        tag = self._next_tags(cursor, rows, 0)
        for _ in range(_MOST_FIELDS):
            if (least := int(tag.min(initial=_NO_TAG))) == _NO_TAG:
                return
            places = (tag == least).nonzero()[0]  # of all rows where none lacks the field, as is usual
            now = rows[places]
            if not self._read_field(cursor, now, least >> 3, least & 7):
                cursor.refuse_all(now, _ODD, "")
            tag[places] = self._next_tags(cursor, now, least)
        cursor.refuse(rows, tag < _NO_TAG, _ODD, lambda _: "")  # each round costs all rows a little

    def _next_tags(self, cursor: Cursor, rows: np.ndarray, last: int) -> np.ndarray:
        """The next tags, int64 [k]; _NO_TAG where there is none. Rows whose tag is no larger than the last one are refused."""
        at = cursor.at[rows]
        goes_on, first = at < cursor.end[rows], cursor.data[at]
        more = first > 127
        if not more.any():
            tag, to = first.astype(np.int64), at + goes_on
        else:
            second = cursor.data[at + 1].astype(np.int64)
            if (more & (second > 127) & goes_on).any():  # a number of 2048 or more
                return self._next_long_tags(cursor, rows, last)
            of_two = (first & 127) + (second << 7)
            tag = of_two if more.all() else np.where(more, of_two, first)
            to = at + goes_on * (1 + more)
        cursor.move(rows, to, "a field")
        tag[~goes_on] = _NO_TAG
        return self._checked(cursor, rows, tag, last)

    def _next_long_tags(self, cursor: Cursor, rows: np.ndarray, last: int) -> np.ndarray:
        tag = np.full(len(rows), _NO_TAG)
        on = (cursor.at[rows] < cursor.end[rows]).nonzero()[0]
        tag[on] = np.minimum(cursor.varint(rows[on], "a field"), np.uint64(_NO_TAG - 1)).astype(np.int64)
        return self._checked(cursor, rows, tag, last)

    def _checked(self, cursor: Cursor, rows: np.ndarray, tag: np.ndarray, last: int) -> np.ndarray:
        wrong = tag <= last
        if wrong.any():
            cursor.refuse(rows, wrong, _ODD, lambda _: "")  # a field twice, or out of order
            tag[wrong] = _NO_TAG
        if len(cursor.why):
            tag[cursor.reason[rows] > 0] = _NO_TAG
        return tag

    def read_inside(self, cursor: Cursor, rows: np.ndarray, start: np.ndarray, length: np.ndarray) -> None:
        """Reads messages that are fields of others; the cursor stands behind them afterwards."""
        end = cursor.end[rows]
        cursor.at[rows], cursor.end[rows] = start, start + length
        self.read(cursor, rows)
        cursor.at[rows], cursor.end[rows] = start + length, end

    def _read_field(self, cursor: Cursor, rows: np.ndarray, number: int, wire: int) -> bool:
        """Whether it can be read here; fields that nobody wants are passed over."""
        field = self._fields.get(number)
        if field:
            if field.wire != wire:
                return False
            field.read(cursor, rows)
        elif wire == _VARINT:
            cursor.varint(rows, "a field")
        elif wire == _LENGTH:
            cursor.counted(rows, False, "a field")
        elif wire in (_FIXED64, _FIXED32):
            cursor.move(rows, cursor.at[rows] + (8 if wire == _FIXED64 else 4), "a field")
        else:
            return False
        return number > 0


def readable(fields: "Sequence[FieldDescriptor]") -> bool:
    """Whether the value at the end of a path is read here: no list, no message, and no choice of one of several fields."""
    last = fields[-1]
    plain = not any(is_repeated(field) for field in fields) and last.type not in (last.TYPE_MESSAGE, last.TYPE_GROUP)
    return plain and not any(_chosen(field) or field.type == field.TYPE_GROUP for field in fields)


def _chosen(field: "FieldDescriptor") -> bool:
    """Whether it is one of a oneof. A single optional field of proto3 has one to itself."""
    return field.containing_oneof is not None and len(field.containing_oneof.fields) > 1


def _default(field: "FieldDescriptor") -> str:
    """The text of a field that has no presence and is not in a message; '': it is missing."""
    if field.type == field.TYPE_BOOL:
        return "false"
    if field.type == field.TYPE_ENUM:
        return field.enum_type.values_by_number[0].name
    if field.type in (field.TYPE_STRING, field.TYPE_BYTES):
        return ""
    return "0.0" if field.type in (field.TYPE_DOUBLE, field.TYPE_FLOAT) else "0"
