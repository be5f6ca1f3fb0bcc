"""A row that has no score gets told why: through the application's HTTP interface, in this process."""

import asyncio
import base64
import json
import types

import pytest
import tensorflow as tf

from tfonline.deltas.weights import At, Weights
from tfonline.features.schema import Schema
from tfonline.formats import find
from tfonline.formats.avro import Avro
from tfonline.formats.avro_writing import schema_of_columns
from tfonline.formats.by_python import ByPython
from tfonline.formats.tsv import Tsv
from tfonline.serving.app import App
from tfonline.serving.batching import Batcher
from tfonline.serving.metrics import Metrics
from tfonline.serving.models import Model
from tfonline.serving.predict import Decoding
from tfonline.serving.workers import Workers

SCHEMA = Schema.model_validate(
    {
        "name": "shop",
        "columns": [
            {"name": "click", "kind": "label"},
            {"name": "price", "kind": "number", "path": "item.price"},
            {"name": "user", "kind": "category"},
            {"name": "last_items", "kind": "categories"},
        ],
    }
)
GOOD = {"item": {"price": 2.5}, "user": "u1", "last_items": ["a"]}
AVRO = Avro(schema_of_columns(SCHEMA.columns))
NUMBER = "expected is a decimal number such as -1.5 or 2e-3, or nothing"


def signature_of(form, columns):
    """What says of rows what a published model says: the reasons are real, the scores are not."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "message")], autograph=False)
    def score(message):
        reason = form.decode(message, columns).reason
        return {"logit": tf.where(reason == 0, 1.0, float("nan")), "reason": reason}

    return score


@tf.function(input_signature=[tf.TensorSpec([None], tf.string, "user")], autograph=False)
def of_columns(user):
    return {"logit": tf.ones_like(user, tf.float32), "reason": tf.where(user == "bad", 6, 0)}


def model_of(message_format):
    form = AVRO if message_format == "avro" else find(message_format)
    contract = {
        "columns": list(SCHEMA.names),
        "kinds": [column.kind for column in SCHEMA.columns],
        "column_options": {column.name: column.options for column in SCHEMA.columns if column.options},
    }
    manifest = {"contract": contract, "label": "click", "messages": form.about}
    inner = form if form.in_graph else Tsv()
    signatures = {
        "serving_default": signature_of(inner, SCHEMA.columns),
        "unlabelled": signature_of(inner, SCHEMA.unlabelled),
        "columns": of_columns,
    }
    inputs = {"serving_default": {"message": True}, "unlabelled": {"message": True}, "columns": {"user": True}}
    decoding = Decoding(form, SCHEMA.unlabelled) if isinstance(form, ByPython) else None
    return Model(1, manifest, inputs, decoding, Weights(tf.Module(), At(1), None), signatures)


@pytest.fixture(scope="module")
def workers():
    workers = Workers(1)
    yield workers
    workers.close()


@pytest.fixture
def ask(workers):
    """Asks a server of a format for the scores of instances; returns the answer's `predictions`, or its `outputs`."""

    def ask(message_format, instances, key="instances", signature="serving_default"):
        models = types.SimpleNamespace(current=model_of(message_format))
        batcher = Batcher(1000, 100_000, 1, lambda rows: None)
        app = App("tfonline", models, batcher, Metrics(models), workers, 10**7, 10, 30.0)
        body = json.dumps({key: instances, "signature_name": signature}).encode()
        status, answer = asyncio.run(post(app.asgi, "/v1/models/tfonline:predict", body))
        batcher.close()
        assert status == 200, answer
        return answer["outputs" if key == "inputs" else "predictions"]

    return ask


async def post(asgi, path, body):
    """(status, content) of a request by the interface that servers of HTTP have to an application."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": body}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "headers": [],
        "query_string": b"",
        "state": {},
    }
    await asgi(scope, receive, send)
    return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent[1:]))


def test_an_object_is_told_its_value_its_place_and_what_is_expected(ask):
    wrong = [
        {**GOOD, "last_items": ["a", "b", "c", {"id": 5}]},
        {**GOOD, "item": {"price": "cheap"}},
        {**GOOD, "item": 5},
        "{",
        '["a"]',
        "",
    ]
    good, *found = ask("json_objects", [GOOD, *wrong])
    assert good == {"logit": 1.0, "reason": 0}
    assert [(row["reason"], row["logit"], row["why"]) for row in found] == [
        (8, None, "last_items[3] is an object, expected is a text, a number, true or false"),
        (6, None, f"item.price is 'cheap', {NUMBER}"),
        (8, None, "item is a number, expected is an object with price"),
        (3, None, "it is no JSON: Input data was truncated"),
        (3, None, "it is JSON, but a list, expected is an object"),
        (1, None, "no byte at all"),
    ]


def test_in_columns_there_is_a_why_for_each_row_or_none_at_all(ask):
    assert ask("json_objects", [GOOD, {"user": [1]}], "inputs")["why"] == [
        None, "user is a list, expected is a text, a number, true or false",
    ]  # fmt: skip
    assert "why" not in ask("json_objects", [GOOD, GOOD], "inputs")


def test_a_row_that_the_model_decodes_is_told_too(ask):
    rows = ["1\t2.5\tu1\ta", "1\t2.5", "2\t2.5\tu1\ta", "1\tx\tu1\ta", {"b64": base64.b64encode(b"1\t2\t\xff\t").decode()}]
    good, *found = ask("tsv", rows)
    assert "why" not in good
    assert [row["why"] for row in found] == [
        "it has 2 fields, expected are 4",
        "click is '2', expected is 0 or 1, true or false",
        f"item.price is 'x', {NUMBER}",
        "byte 5, 0xff, is not UTF-8",
    ]
    [unlabelled] = ask("tsv", ["1\t2.5\tu1\ta"], signature="unlabelled")
    assert unlabelled["why"] == "it has 4 fields, expected are 3"


def test_a_binary_message_and_an_object_in_its_place_are_told(ask):
    whole = AVRO.encode(["0", "2.5", "u1", "a"], SCHEMA.columns)
    binary = [{"b64": base64.b64encode(message).decode()} for message in (whole, whole[:-1])]
    good, *found = ask("avro", [*binary, {**GOOD, "user": {}}])
    assert "why" not in good
    assert [row["why"] for row in found] == [
        "it ends in the middle of last_items",
        "user is an object, expected is a text, a number, true or false",
    ]


def test_of_the_eleventh_refused_row_on_the_reason_alone_is_told(ask):
    found = ask("json_objects", [{"item": {"price": f"x{i}"}} if i % 2 else {"user": {}} for i in range(24)])
    assert [row["why"] for row in found[:10:2]] == ["user is an object, expected is a text, a number, true or false"] * 5
    assert [row["why"] for row in found[1:10:2]] == [f"item.price is 'x{i}', {NUMBER}" for i in range(1, 10, 2)]
    assert found[-1]["why"] == "a column of kind integer, number or time holds something else"


@pytest.mark.parametrize("message_format", ["tsv", "json_objects"])
def test_a_row_of_a_large_request_is_told(ask, message_format):
    """Another process reads such a body, and the model gets a tensor of its rows."""
    rows = [["1", "2.5", "u" * 100, "a"] for _ in range(1500)]
    rows[700][1] = "x"
    messages = [find(message_format).encode(row, SCHEMA.columns).decode() for row in rows]
    found = ask(message_format, messages)
    assert found[700]["why"] == f"item.price is 'x', {NUMBER}"
    assert ["why" in row for row in found].count(True) == 1


def test_of_a_row_of_columns_the_reason_is_told(ask):
    found = ask("tsv", [{"user": "u1"}, {"user": "bad"}], signature="columns")
    assert "why" not in found[0]
    assert found[1]["why"] == "a column of kind integer, number or time holds something else"
