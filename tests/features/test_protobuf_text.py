"""Protobuf schemas as registries have them, texts of .proto files, become types."""

import base64
import importlib.util

import pytest
from google.protobuf import descriptor_pb2

from tfonline.formats.protobuf_text import set_of_text
from tfonline.formats.protobuf_type import type_of
from tfonline.formats.schemas import Written
from tfonline.lifecycle import UserError

ROW = """
syntax = "proto3";
package shop;
import "parts/item.proto";
import "google/protobuf/timestamp.proto";
message Row {
  parts.Item item = 1;
  google.protobuf.Timestamp at = 2;
  optional string user = 3;
  enum Color { NONE = 0; RED = 1; }
  Color color = 4;
  map<string, int32> counts = 5;
}
"""
ITEM = 'syntax = "proto3"; package parts; import "parts/brand.proto"; message Item { Brand brand = 1; double price = 2; }'
BRAND = 'syntax = "proto2"; package parts; message Brand { required string name = 1; optional int32 rank = 2 [default = 7]; }'
REFERENCES = {"parts/brand.proto": BRAND, "parts/item.proto": ITEM}


def paths_of(set_, name):
    type_ = type_of(set_, name, in_last=True)
    return {field.name: field.number for field in type_.fields}, type_


def test_a_text_and_the_texts_that_it_imports_are_a_type():
    set_ = set_of_text(1, Written("PROTOBUF", ROW, REFERENCES))
    fields, type_ = paths_of(set_, "")
    assert fields == {"item": 1, "at": 2, "user": 3, "color": 4, "counts": 5}
    item = type_.fields_by_name["item"].message_type
    assert (item.full_name, item.fields_by_name["brand"].message_type.fields_by_name["rank"].default_value) == ("parts.Item", 7)


def test_the_type_is_one_of_the_schemas_own_file():
    set_ = set_of_text(1, Written("PROTOBUF", ROW, REFERENCES))
    with pytest.raises(ValueError, match=r"it has no type 'parts\.Item'; expected one of shop\.Row"):
        type_of(set_, "parts.Item", in_last=True)


def described(set_):
    """A schema as some clients register it: FileDescriptorProtos in base64."""
    files = {file.name: base64.b64encode(file.SerializeToString()).decode() for file in set_.file}
    *references, own = [name for name in files if not name.startswith("google/")]
    return Written("PROTOBUF", files[own], {name: files[name] for name in references})


def test_descriptors_in_base64_are_the_same_type():
    set_ = descriptor_pb2.FileDescriptorSet.FromString(set_of_text(1, Written("PROTOBUF", ROW, REFERENCES)))
    again = descriptor_pb2.FileDescriptorSet.FromString(set_of_text(1, described(set_)))
    assert again.file[-1] == set_.file[-1]
    assert {file.name for file in again.file} == {file.name for file in set_.file}
    assert paths_of(again.SerializeToString(), "shop.Row")[0]["at"] == 2


@pytest.mark.parametrize(
    ("schema", "references", "why"),
    [
        ('syntax = "proto3"; message Row { int32 = 1; }', {}, r"schema_of_the_messages\.proto:1:40: "),
        ('syntax = "proto3"; import "no.proto"; message Row {}', {}, r"no\.proto"),
        ("message Row {}", {"../../out.proto": "x"}, r"it imports '\.\./\.\./out\.proto', which is no name of a file"),
        ("message Row {}", {"/tmp/out.proto": "x"}, r"it imports '/tmp/out\.proto', which is no name of a file"),
        (base64.b64encode(b"\xff\xff").decode(), {}, "cannot be read"),
    ],
)
def test_what_is_no_schema_is_said(schema, references, why):
    with pytest.raises(UserError, match=f"the schema with id 3 of the registry .*{why}.*message_schema") as e:
        set_of_text(3, Written("PROTOBUF", schema, references))
    assert e.value.code == 65


def test_without_protoc_what_to_install_is_said(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "grpc_tools" else find_spec(name))
    with pytest.raises(UserError, match=r"the package grpcio-tools, which reads such, is not installed.*message_schema") as e:
        set_of_text(3, Written("PROTOBUF", ROW, REFERENCES))
    assert e.value.code == 66
