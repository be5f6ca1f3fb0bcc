"""What schemas say of their fields, and what several of them say together."""

import json

from tfonline.formats.avro import Avro
from tfonline.formats.fields import Field, merged


def fields_of(*fields):
    return Avro(json.dumps({"type": "record", "name": "Row", "fields": list(fields)})).fields([b"x"])


def test_schemas_that_differ_leave_the_kind_to_the_values():
    double, long = Field("double", "number"), Field("long")
    assert merged([{"a": double, "b": long}, {"a": double, "b": double}]) == {"a": double, "b": Field("long; or double")}
    moments = {"at": Field("long timestamp-millis", "time", "ms")}, {"at": Field("long timestamp-micros", "time", "us")}
    assert merged(moments)["at"] == Field("long timestamp-millis; or long timestamp-micros")


def test_a_value_that_is_a_record_elsewhere_is_no_column():
    found = merged([{"item": Field("long")}, {"item.price": Field("double", "number")}])
    assert found == {
        "item": Field("long", unfit="some messages have a record there, and others none"),
        "item.price": Field("double", "number"),
    }


def test_a_union_is_all_of_its_types():
    item = {"type": "record", "name": "Item", "fields": [{"name": "x", "type": "int"}]}
    other = {"type": "record", "name": "Other", "fields": [{"name": "x", "type": "double"}, {"name": "y", "type": "boolean"}]}
    found = fields_of(
        {"name": "a", "type": ["null", "long", "double"]},
        {"name": "b", "type": ["null", "long", "string"]},
        {"name": "c", "type": [item, other]},
        {"name": "d", "type": ["null", "Item", "string"]},
        {"name": "e", "type": ["null", {"type": "array", "items": ["null", "string"]}]},
        {"name": "f", "type": "null"},
    )
    assert found == {
        "a": Field("long or double", "number"),
        "b": Field("long or string"),
        "c.x": Field("int; or double"),
        "c.y": Field("boolean", "category"),
        "d": Field("", unfit="it is a record in some messages and none in others"),
        "e": Field("array", is_list=True),
        "f": Field(""),
    }
