"""Lines below a header, whose first line names the fields: the columns are taken by these names. Imports no TensorFlow."""

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tfonline.formats import find
from tfonline.formats.by_python import Refused
from tfonline.formats.explain import reason_of

if TYPE_CHECKING:
    from tfonline.features.column import Column

# The formats whose lines may stand below one.
WITH_HEADER = ("tsv", "csv")
_SEPARATORS = {"tsv": b"\t", "csv": b","}

Make = Callable[[bytes], bytes]
# What becomes of a line that is no row: of it, the name of its reason, and what is wrong with it in words.
Refuse = Callable[[bytes, str, str], bytes]


class HeaderError(ValueError):
    """A header that lacks columns; its text says which, and which there are."""


def is_header(line: bytes, columns: "Sequence[Column]", form: str) -> bool:
    """Whether a file's first line names the columns: the label and at least half of all.

    Args:
      line: the first of a file, without its end.
      columns: of the data set.
      form: the name of the lines' format.
    """
    wanted = {column.key for column in columns}
    label = next((column.key for column in columns if column.kind == "label"), "")
    names = set(_names(line, form))
    return label in names and len(wanted & names) * 2 >= len(wanted)


def by_header(line: bytes, columns: "Sequence[Column]", form: str, made: str, refuse: Refuse | None = None) -> Make:
    """What makes messages of the lines below a header.

    Args:
      line: the header, see is_header.
      columns: of the messages, in order.
      form: the name of the lines' format.
      made: the name of the messages' format.
      refuse: of a line that is no row; None: it becomes a message that is refused.

    Raises:
      HeaderError: the header lacks a column, or has one twice.
    """
    names, wanted = _names(line, form), [column.key for column in columns]
    if missing := [name for name in wanted if name not in names]:
        raise HeaderError(f"has a header without {', '.join(missing)}; it names {', '.join(names)}")
    if twice := [name for name in wanted if names.count(name) > 1]:
        raise HeaderError(f"has a header that names {', '.join(twice)} twice")
    if names == wanted and form == made:
        return bytes
    contents, places, num_fields = find(form).contents, [names.index(name) for name in wanted], len(names)

    def texts(line: bytes) -> list[str]:
        fields = contents(line)
        if len(fields) != num_fields:
            raise ValueError(f"it has {len(fields)} fields, its header {num_fields}")
        return [fields[place] for place in places]

    make = _maker(columns, made, texts, refuse)
    if made not in WITH_HEADER:
        return make
    # Most lines hold no quote, and nothing that either format has no place for: a tenth of the time.
    inside, between, pick = _SEPARATORS[form], _SEPARATORS[made], operator.itemgetter(*places)

    def cut(line: bytes) -> bytes:
        line = line.removesuffix(b"\r") if form == "csv" else line  # RFC 4180 ends lines so
        fields = line.split(inside)
        if len(fields) != num_fields or b'"' in line or b"\r" in line or (form != made and between in line):
            return make(line)
        return between.join(pick(fields))

    return cut


def by_texts(columns: "Sequence[Column]", form: str, made: str, refuse: Refuse | None = None) -> Make:
    """What makes messages of lines in another format, see by_header."""
    texts = find(form).texts
    return _maker(columns, made, lambda line: texts(line, columns), refuse)


def _maker(columns: "Sequence[Column]", made: str, texts: Callable[[bytes], list[str]], refuse: Refuse | None) -> Make:
    encode, refuse = find(made).encode, refuse or (lambda row, reason, words: refused(row, columns, made))

    def make(line: bytes) -> bytes:
        if not line:
            return b""
        try:
            found = texts(line)
        except ValueError as e:
            return refuse(line, *reason_of(e))
        try:
            return encode(found, columns)
        except Refused as e:
            return refuse(line, *reason_of(e))
        except ValueError as e:  # a text that the messages' format has no place for
            return refuse(line, "type", str(e))

    return make


def refused(row: bytes, columns: "Sequence[Column]", made: str) -> bytes:
    """A message that shows a row and is refused: it has more fields than there are columns."""
    return row + _SEPARATORS.get(made, b"") * len(columns)


def _names(line: bytes, form: str) -> list[str]:
    try:
        return [name.strip() for name in find(form).contents(line.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r"))]
    except ValueError:
        return []
