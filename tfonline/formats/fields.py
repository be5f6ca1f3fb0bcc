"""What a schema of Avro or Protobuf says of its fields, for the tools that describe columns. Imports no TensorFlow."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Field(NamedTuple):
    """What is known of a field before a value of it is seen.

    Attributes:
      words: its type and default, such as `enum of 3, default 'none'`.
      kind: the kind of column that it is, where its type leaves no doubt; '': its values tell.
      unit: of a column of kind time.
      is_list: whether its value is a list of texts or numbers.
      unfit: why no column can be made of it; '' where one can.
    """

    words: str
    kind: str = ""
    unit: str = ""
    is_list: bool = False
    unfit: str = ""


NO_SCHEMA = Field("")  # of a value that nothing is said of


def merged(schemas: Iterable[Mapping[str, Field]]) -> dict[str, Field]:
    """The fields of several schemas by their paths. Where two of them differ, values tell what the field is."""
    found: dict[str, Field] = {}
    for fields in schemas:
        for path, field in fields.items():
            found[path] = _both(found[path], field) if path in found else field
    inner = {path[:i] for path in found for i, character in enumerate(path) if character == "."}
    for path in inner & found.keys():
        found[path] = found[path]._replace(unfit=found[path].unfit or "some messages have a record there, and others none")
    return found


def _both(one: Field, other: Field) -> Field:
    if one == other:
        return one
    words = one.words if one.words == other.words else f"{one.words}; or {other.words}"
    if (one.kind, one.unit) != (other.kind, other.unit):
        one = one._replace(kind="", unit="")
    return one._replace(words=words, is_list=one.is_list or other.is_list, unfit=one.unfit or other.unfit)
