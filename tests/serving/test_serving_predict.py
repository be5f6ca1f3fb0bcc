"""The form of requests and answers."""

import base64
import json
import math

import numpy as np
import pytest
import tensorflow as tf

from tfonline.features.kinds.category import CategoryColumn
from tfonline.features.kinds.integer import IntegerColumn
from tfonline.formats.json_objects import JsonObjects
from tfonline.formats.reasons import REASONS
from tfonline.serving.predict import BadRequest, Decoding, Request, read_request, read_serialised, write_answer

SIGNATURES = {"serving_default": {"message": True}, "columns": {"I1": False, "C1": True}}


def read(**body):
    return read_request(json.dumps(body).encode(), SIGNATURES)


@pytest.mark.parametrize(
    "body",
    [
        {"instances": ["a", "b"]},
        {"instances": [{"message": "a"}, {"message": "b"}]},
        {"signature_name": "serving_default", "instances": ["a", {"message": "b"}]},
        {"signature_name": "", "instances": ["a", "b"], "comment": "left alone"},
    ],
)
def test_rows_of_messages(body):
    assert read(**body) == Request("serving_default", {"message": ["a", "b"]}, 2, False)


@pytest.mark.parametrize("inputs", [["a", "b"], {"message": ["a", "b"]}])
def test_an_input_of_messages(inputs):
    assert read(inputs=inputs) == Request("serving_default", {"message": ["a", "b"]}, 2, True)


def test_base64_and_what_json_escapes():
    raw = b"\xff\x00\t"
    request = read(instances=[{"b64": base64.b64encode(raw).decode()}, {"message": {"b64": ""}}, "\t\u00e9\n"])
    assert request.inputs["message"] == [raw, b"", "\t\u00e9\n"]


def test_columns_by_row_and_by_column_with_missing_values():
    rows = read(signature_name="columns", instances=[{"I1": 3, "C1": None}, {"C1": "x", "I1": None}, {"I1": -2.5, "C1": ""}])
    columns = read(signature_name="columns", inputs={"I1": [3, None, -2.5], "C1": [None, "x", ""]})
    for request, columnar in ((rows, False), (columns, True)):
        assert (request.signature, request.rows, request.columnar) == ("columns", 3, columnar)
        assert request.inputs["C1"] == ["", "x", ""]
        assert request.inputs["I1"][::2] == [3, -2.5]
        assert math.isnan(request.inputs["I1"][1])


def test_a_column_that_is_left_out_is_missing():
    request = read(signature_name="columns", instances=[{"I1": 3}, {"C1": "a"}, {}])
    assert request.inputs["C1"] == ["", "a", ""]
    assert request.inputs["I1"][0] == 3
    assert all(map(math.isnan, request.inputs["I1"][1:]))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "either"),
        ({"instances": ["a"], "inputs": ["a"]}, "either"),
        ({"instances": ["a", {"b64": "\u00e9"}]}, "message of row 1 is no base64"),
        ({"instances": [json.loads("[" * 300 + "]" * 300)]}, "message of row 0 is a list"),
        ({"signature_name": "nix", "instances": ["a"]}, 'no signature "nix"; expected one of columns, serving_default'),
        ({"signature_name": ["x"], "instances": ["a"]}, "no signature"),
        ({"instances": []}, "at least one row"),
        ({"instances": "a"}, "no list"),
        ({"instances": [3]}, "message of row 0 is 3; expected a string"),
        ({"instances": ["a", {"b64": "?"}]}, "message of row 1 is no base64"),
        ({"instances": [{"massage": "a"}]}, "message of row 0 is an object; expected a string"),
        ({"inputs": []}, "hold no row"),
        ({"inputs": {"message": "a"}}, "not lists of the same length"),
        ({"inputs": 3}, "is no object"),
        ({"signature_name": "columns", "instances": [{"I1": 3, "C1": "", "I9": 1}]}, 'instance 0 has "I9", which is no input'),
        ({"signature_name": "columns", "instances": ["a"]}, "instance 0 is no object; expected one with I1, C1"),
        ({"signature_name": "columns", "instances": [{"I1": "3", "C1": ""}]}, 'I1 of row 0 is "3"; expected a number or null'),
        ({"signature_name": "columns", "instances": [{"I1": True, "C1": ""}]}, "I1 of row 0 is true"),
        ({"signature_name": "columns", "inputs": {"I1": [1, 2], "C1": [""]}}, "not lists of the same length"),
        ({"signature_name": "columns", "inputs": {"I1": [1]}}, '"inputs" lacks C1'),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(body, says):
    with pytest.raises(BadRequest) as e:
        read(**body)
    assert says in str(e.value)


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"x"', b'{"instances": ["\xff"]}', b"null"])
def test_no_json_object(body):
    with pytest.raises(BadRequest):
        read_request(body, SIGNATURES)


def test_serialised_inputs_are_what_tensorflow_reads():
    strings = ["", "\u00e9", {"b64": base64.b64encode(b"\xff\x00").decode()}, "x" * 127, "y" * 128, "z" * 20_000, None]
    numbers = [3, None, -2.5, 2**53 + 1, 1e300, 0, -1]
    body = json.dumps({"signature_name": "columns", "inputs": {"I1": numbers, "C1": strings}}).encode()
    request = read_serialised(body, SIGNATURES)
    assert (request.signature, request.rows, request.columnar) == ("columns", 7, True)
    read_strings = tf.io.parse_tensor(request.inputs["C1"], tf.string)
    assert read_strings.shape == (7,)
    expected = [b"", b"\xc3\xa9", b"\xff\x00", b"x" * 127, b"y" * 128, b"z" * 20_000, b""]
    assert read_strings.numpy().tolist() == expected
    read_numbers = tf.io.parse_tensor(request.inputs["I1"], tf.float64).numpy().tolist()
    assert read_numbers[:1] + read_numbers[2:] == [3, -2.5, 2**53, 1e300, 0, -1]
    assert math.isnan(read_numbers[1])


def test_what_is_wrong_is_told_of_serialised_inputs_too():
    with pytest.raises(BadRequest, match="message of row 1 is 3; expected a string"):
        read_serialised(b'{"instances": ["a", 3]}', SIGNATURES)


def test_answers_are_json_in_which_undefined_is_null():
    outputs = {"logit": np.array([0.5, np.nan], np.float32), "reason": np.array([0, 4], np.int32)}
    rows, columns = (json.loads(write_answer(outputs, columnar, {1: "cut"})) for columnar in (False, True))
    assert rows == {"predictions": [{"logit": 0.5, "reason": 0}, {"logit": None, "reason": 4, "why": "cut"}]}
    assert columns == {"outputs": {"logit": [0.5, None], "reason": [0, 4], "why": [None, "cut"]}}
    score = np.array([0.1], np.float32)
    assert np.float32(json.loads(write_answer({"logit": score}, True, {}))["outputs"]["logit"][0]) == score[0]


DECODING = Decoding(JsonObjects(), (IntegerColumn(name="age", path="user.age"), CategoryColumn(name="shop_id")))


@pytest.mark.parametrize("name", ["serving_default", "unlabelled"])
def test_rows_that_are_objects(name):
    instances = [
        {"user": {"age": 30}, "shop_id": "a", "click": 1, "more": [1]},
        '{"shop_id": "b"}',
        {"message": '{"shop_id": 7}'},
        {"b64": base64.b64encode(b'{"shop_id": "c"}').decode()},
        {"user": [1]},
        "{",
        "",
    ]
    body = json.dumps({"signature_name": name, "instances": instances}).encode()
    rows = [b"30\ta", b"\tb", b"\t7", b"\tc", b"", b"", b""]
    reasons = [REASONS.index(reason) for reason in ("", "", "", "", "type", "json", "")]
    whys = {4: "user is a list, expected is an object with age", 5: "it is no JSON: Input data was truncated"}
    signatures = {**SIGNATURES, "unlabelled": {"message": True}}
    assert read_request(body, signatures, DECODING) == Request("unlabelled", {"message": rows}, 7, False, reasons, whys)
    serialised = read_serialised(body, signatures, DECODING)
    assert tf.io.parse_tensor(serialised.inputs["message"], tf.string).numpy().tolist() == rows
    assert serialised.reasons == reasons


def test_columns_of_a_model_of_objects_are_as_of_any_other():
    body = json.dumps({"signature_name": "columns", "instances": [{"I1": 3, "C1": "a"}]}).encode()
    assert read_request(body, SIGNATURES, DECODING) == read_request(body, SIGNATURES)


@pytest.mark.parametrize("instance", [[1], 5, True])
def test_what_is_neither_an_object_nor_its_text_is_refused(instance):
    with pytest.raises(BadRequest, match="message of row 0 is"):
        read_request(json.dumps({"instances": [instance]}).encode(), SIGNATURES, DECODING)
