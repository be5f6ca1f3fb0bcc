"""A type of Protobuf messages, from a descriptor set or made of columns, and where columns are in it. Imports no TensorFlow.

Classes are made at run time: what protoc generates fits one version of the library only, and each TensorFlow wants its own.
"""

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfonline.formats.fields import Field

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor

    from tfonline.features.column import Column

TIMESTAMP = "google.protobuf.Timestamp"
# Of the types of fields by their numbers, see google/protobuf/descriptor.proto; 14 is an enum.
_NAMES = {
    1: "double", 2: "float", 3: "int64", 4: "uint64", 5: "int32", 6: "fixed64", 7: "fixed32", 8: "bool", 9: "string", 10: "group",
    11: "message", 12: "bytes", 13: "uint32", 15: "sfixed32", 16: "sfixed64", 17: "sint32", 18: "sint64",
}  # fmt: skip


def type_of(descriptor_set: bytes, name: str, in_last: bool = False) -> "Descriptor":
    """The type of this name; of a set with a single type, that one.

    Args:
      descriptor_set: a serialised FileDescriptorSet.
      name: the full one, or ''.
      in_last: whether it is one of the set's last file, and the others are what that imports.

    Raises:
      ValueError: it is no descriptor set, or has no such type.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool
    from google.protobuf.message import DecodeError

    try:
        files = descriptor_pb2.FileDescriptorSet.FromString(descriptor_set)
        pool = descriptor_pool.DescriptorPool()
        for file in files.file:
            pool.AddSerializedFile(file.SerializeToString())
    except (DecodeError, TypeError) as e:
        raise ValueError(
            f"it is no descriptor set ({e}); expected is what `protoc --include_imports --descriptor_set_out=FILE` writes"
        ) from e
    of = files.file[-1:] if in_last else files.file
    names = [f"{file.package}{file.package and '.'}{message.name}" for file in of for message in file.message_type]
    if not name:
        if len(names) != 1:
            raise ValueError(f"message_type says which of its types the messages have: one of {', '.join(names)}")
        name = names[0]
    try:
        found = pool.FindMessageTypeByName(name)
        if not in_last or found.file.name == files.file[-1].name:
            return found
    except KeyError:
        pass
    raise ValueError(f"it has no type {name!r}; expected one of {', '.join(names)}")


def set_of_columns(columns: "Sequence[Column]") -> bytes:
    """A descriptor set with one type for messages of these columns: texts, all of which may be missing."""
    from google.protobuf import descriptor_pb2

    top: dict[str, Any] = {}
    for column in columns:
        *inside, name = column.steps
        at = top
        for each in inside:
            at = at.setdefault(each, {})
        at[name] = None
    file = descriptor_pb2.FileDescriptorProto(name="row.proto", syntax="proto3")
    _fill(file.message_type.add(name="Row"), ".Row", top)
    return descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString(deterministic=True)


def _fill(message: Any, full_name: str, fields: dict[str, Any]) -> None:
    for number, (name, inside) in enumerate(fields.items(), start=1):
        field = message.field.add(name=name, number=number, label=1, type=9, json_name=name)  # an optional string
        if inside is not None:
            inner = f"In_{name}"
            field.type, field.type_name = 11, f"{full_name}.{inner}"
            _fill(message.nested_type.add(name=inner), f"{full_name}.{inner}", inside)
        else:
            field.proto3_optional, field.oneof_index = True, len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{name}")


def fields_at(type_: "Descriptor", path: Sequence[str]) -> "list[FieldDescriptor] | None":
    """The fields along a path; None where there is no such."""
    found = []
    at: Descriptor | None = type_
    for name in path:
        field = at.fields_by_name.get(name) if at else None
        if field is None:
            return None
        found.append(field)
        at = field.message_type
    return found


def fields_of(type_: "Descriptor") -> dict[str, Field]:
    """What the type says of each of its fields, by its path."""
    return _fields_in(type_, "", (type_.full_name,))


def _fields_in(type_: "Descriptor", before: str, around: tuple[str, ...]) -> dict[str, Field]:
    """Of the fields of a message. `around`: the types that it is in, and its own."""
    found: dict[str, Field] = {}
    for field in type_.fields:
        inner = field.message_type
        if inner is None or inner.full_name == TIMESTAMP or is_repeated(field):
            found[before + field.name] = _field(field)
        elif inner.full_name in around:
            found[before + field.name] = Field("", unfit="its type holds itself")
        else:
            found |= _fields_in(inner, f"{before}{field.name}.", (*around, inner.full_name))
    return found


def _field(field: "FieldDescriptor") -> Field:
    is_moment = field.message_type is not None and field.message_type.full_name == TIMESTAMP
    if field.type == field.TYPE_ENUM:
        words = f"enum of {len(field.enum_type.values)}"
    else:
        words = TIMESTAMP if is_moment else _NAMES[field.type]
    if is_map(field):
        return Field("map", unfit="it is a map, which no kind takes")
    if is_repeated(field):
        fits = field.message_type is None or is_moment
        return Field(f"repeated {words}", is_list=True, unfit="" if fits else "it is a list of messages, which no kind takes")
    if is_moment:
        return Field(words, "time", "s")
    words += f", default {field.default_value!r}" if field.has_default_value and field.type != field.TYPE_ENUM else ""
    if field.type in (field.TYPE_ENUM, field.TYPE_BOOL):
        return Field(words, "category")
    return Field(words, "number" if field.type in (field.TYPE_DOUBLE, field.TYPE_FLOAT) else "")


def indexes_of(type_: "Descriptor") -> list[int]:
    """Where a type stands in its file, from the outermost type that it is in: as Confluent's frame says it."""
    found: list[int] = []
    while type_.containing_type:
        found.insert(0, [nested.name for nested in type_.containing_type.nested_types].index(type_.name))
        type_ = type_.containing_type
    return [list(type_.file.message_types_by_name).index(type_.name), *found]


def as_text(descriptor_set: bytes) -> str:
    """A descriptor set as plain data."""
    return base64.b64encode(descriptor_set).decode()


def is_map(field: "FieldDescriptor") -> bool:
    """Whether a repeated field is a map."""
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def is_repeated(field: "FieldDescriptor") -> bool:
    """Whether a field holds any number of values."""
    # Newer versions of the library have only the property, older ones only the label.
    found = getattr(field, "is_repeated", None)
    return field.label == field.LABEL_REPEATED if found is None else bool(found)
