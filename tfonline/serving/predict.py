"""What a predict request and its answer look like: the REST form of TensorFlow Serving.

    {"instances": ["<a row as in the topic>", ...]}                    a row each; {"message": ...} for each is the same
    {"signature_name": "unlabelled", "instances": [...]}               the same, of rows without the label's field
    {"signature_name": "columns", "instances": [{"I1": 3, ...}, ...]}  a value a column; what is null or left out is missing
    {"inputs": ...}                                                    a list an input instead; the answer has `outputs`

Where Python decodes the rows (CSV, JSON objects, Avro, Protobuf), an instance may be an object with the columns' names or paths as
keys; whether it has the label's key does not matter.

A string that is not UTF-8 goes as {"b64": "..."}. A score that is not defined is null, and its row has `why`, in words. (Where null
stands here, TensorFlow Serving takes and writes NaN, which is no JSON, and it has no `why`.) Other keys are left alone.
"""

import base64
import math
from typing import Any, NamedTuple

import numpy as np
import orjson

from tfonline.features.column import Column
from tfonline.formats.by_python import ByPython
from tfonline.formats.framing import varint
from tfonline.formats.json_objects import JsonObjects
from tfonline.serving.why import MOST, Reading, why

# The signatures that take rows as in the topic.
_OF_MESSAGES = ("serving_default", "unlabelled")


class BadRequest(Exception):
    """The body is not as described above: what, what was expected."""


class Request(NamedTuple):
    """A request's rows.

    Attributes:
      signature: by which they are to be scored.
      inputs: by name, a list of its values; or all of them as a serialised TensorProto.
      rows: how many.
      columnar: whether they came as `inputs`.
      reasons: why each is no row, an index into REASONS, 0 for others; None where the model says so.
      whys: the same in words, of the first that are none, by their numbers.
    """

    signature: str
    inputs: dict[str, list | bytes]
    rows: int
    columnar: bool
    reasons: list[int] | None = None
    whys: dict[int, str] | None = None


class Decoding(NamedTuple):
    """How rows as in the topic are decoded here, where the model does not.

    Attributes:
      form: the messages' format.
      columns: without the label, which no score depends on.
    """

    form: ByPython
    columns: tuple[Column, ...]


def read_request(body: bytes, signatures: dict[str, dict[str, bool]], decoding: Decoding | None = None) -> Request:
    """Reads and checks a body.

    Args:
      body: JSON.
      signatures: by signature and input, whether the input is of strings.
      decoding: of rows as in the topic; None: the model does it.

    Raises:
      BadRequest: it is none of the forms above.
    """
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as e:
        raise BadRequest(f"the body is no JSON: {e}") from e
    if not isinstance(request, dict) or ("instances" in request) == ("inputs" in request):
        raise BadRequest('expected an object with either "instances" or "inputs"')
    name = request.get("signature_name") or "serving_default"
    if not isinstance(name, str) or name not in signatures:
        raise BadRequest(f"there is no signature {_short(name)}; expected one of {', '.join(sorted(signatures))}")
    columnar = "inputs" in request
    if decoding and name in _OF_MESSAGES:
        return _decoded(request["inputs" if columnar else "instances"], columnar, decoding)
    inputs = (_columns if columnar else _rows)(request["inputs" if columnar else "instances"], signatures[name])
    for input_name, string in signatures[name].items():
        _convert(inputs[input_name], string, input_name)
    return Request(name, inputs, len(next(iter(inputs.values()))), columnar)


def read_serialised(body: bytes, signatures: dict[str, dict[str, bool]], decoding: Decoding | None = None) -> Request:
    """As read_request, with each input as a TensorProto: TensorFlow makes a tensor of it without Python's lock."""
    request = read_request(body, signatures, decoding)
    types = signatures[request.signature]
    inputs = {name: _tensor_proto(values, types[name]) for name, values in request.inputs.items()}
    return request._replace(inputs=inputs)


def write_answer(outputs: dict[str, np.ndarray], columnar: bool, whys: dict[int, str]) -> bytes:
    """JSON of the outputs, [n] each: a list an output, or an object a row. `whys`: what is wrong with refused rows, by number."""
    lists = {name: output.tolist() for name, output in outputs.items()}
    if columnar:
        refused = {"why": [whys.get(i) for i in range(len(next(iter(lists.values()))))]} if whys else {}
        return orjson.dumps({"outputs": {**lists, **refused}})
    rows = [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    for i, text in whys.items():
        rows[i]["why"] = text
    return orjson.dumps({"predictions": rows})


def _decoded(instances: Any, columnar: bool, decoding: Decoding) -> Request:
    """A request of rows as in the topic; the model takes them without the label."""
    inputs = (_columns if columnar else _rows)(instances, {"message": True})
    # An object is the row itself, unless it says how a string was written.
    objects = [isinstance(v, dict) and v.keys() != {"b64"} for v in inputs["message"]]
    messages = [orjson.dumps(v).decode() if is_object else v for v, is_object in zip(inputs["message"], objects, strict=True)]
    _convert(messages, True, "message")
    raw = [m if isinstance(m, bytes) else m.encode() for m in messages]
    rows, reasons = decoding.form.canonical(raw, decoding.columns)
    # With the columns' paths as keys, an object says what a message of any other format with names says.
    forms = [JsonObjects() if is_object else decoding.form for is_object in objects]
    if any(objects) and not isinstance(decoding.form, JsonObjects):
        as_objects = JsonObjects().canonical(raw, decoding.columns)
        for i in (i for i, is_object in enumerate(objects) if is_object):
            rows[i], reasons[i] = as_objects[0][i], as_objects[1][i]
    refused = [i for i, reason in enumerate(reasons) if reason][:MOST]
    whys = {i: why(raw[i], reasons[i], Reading(forms[i], decoding.columns)) for i in refused}
    return Request("unlabelled", {"message": rows}, len(rows), columnar, reasons, whys)


def _rows(instances: Any, types: dict[str, bool]) -> dict[str, list]:
    if not isinstance(instances, list) or not instances:
        raise BadRequest('"instances" is no list of at least one row')
    if len(types) == 1:
        (name,) = types
        return {name: [_only(v, name) for v in instances]}
    for i, instance in enumerate(instances):
        if not isinstance(instance, dict) or not instance.keys() <= types.keys():
            raise BadRequest(f"instance {i} {_wrong_names(instance, types)}")
    return {name: [instance.get(name) for instance in instances] for name in types}


def _columns(inputs: Any, types: dict[str, bool]) -> dict[str, list]:
    if len(types) == 1 and isinstance(inputs, list):
        inputs = {next(iter(types)): inputs}
    if not isinstance(inputs, dict) or inputs.keys() != types.keys():
        raise BadRequest(f'"inputs" {_wrong_names(inputs, types)}')
    if not all(isinstance(values, list) for values in inputs.values()) or len({len(values) for values in inputs.values()}) != 1:
        raise BadRequest('"inputs" are not lists of the same length')
    if not len(next(iter(inputs.values()))):
        raise BadRequest('"inputs" hold no row')
    return inputs


def _only(value: Any, name: str) -> Any:
    """A row of the only input, which may be named."""
    return value[name] if isinstance(value, dict) and value.keys() == {name} else value


def _wrong_names(given: Any, types: dict[str, bool]) -> str:
    if not isinstance(given, dict):
        return f"is no object; expected one with {', '.join(types)}"
    if unknown := sorted(name for name in given if name not in types):
        return f"has {_short(unknown[0])}, which is no input; expected {', '.join(types)}"
    return f"lacks {', '.join(name for name in types if name not in given)}"


def _convert(values: list, string: bool, name: str) -> None:
    """In place: strings as str or bytes, '' where missing; numbers as float, NaN where missing."""
    for i, value in enumerate(values):
        if string:
            if isinstance(value, str):
                continue
            if value is None:
                values[i] = ""
            elif isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str):
                try:
                    values[i] = base64.b64decode(value["b64"], validate=True)
                except ValueError as e:  # binascii.Error is one, too
                    raise BadRequest(f"{name} of row {i} is no base64: {e}") from e
            else:
                raise BadRequest(f'{name} of row {i} is {_short(value)}; expected a string, null or {{"b64": ...}}')
        elif value is None:
            values[i] = math.nan
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise BadRequest(f"{name} of row {i} is {_short(value)}; expected a number or null")


def _tensor_proto(values: list, string: bool) -> bytes:
    """The bytes of a tensorflow.TensorProto, a vector of DT_STRING (7) or DT_DOUBLE (2). By hand: the class is TensorFlow's."""
    size = b"\x08" + varint(len(values))
    shape = _field(2, _field(2, size))  # tensor_shape { dim { size } }
    if not string:
        return b"\x08\x02" + shape + _field(4, np.array(values, "<f8").tobytes())  # tensor_content
    strings = (_field(8, v.encode() if isinstance(v, str) else v) for v in values)  # string_val
    return b"".join((b"\x08\x07", shape, *strings))


def _field(number: int, content: bytes) -> bytes:
    return bytes((number << 3 | 2,)) + varint(len(content)) + content


def _short(value: Any) -> str:
    if isinstance(value, list | dict):  # however deep
        return "a list" if isinstance(value, list) else "an object"
    text = orjson.dumps(value).decode()
    return text if len(text) <= 40 else f"{text[:40]}..."
