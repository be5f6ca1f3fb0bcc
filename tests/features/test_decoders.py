"""Processes that decode messages: they say what the trainer's own process says, ask it for schemas, and end as they must."""

import copy
import json
import os
import pickle
import signal
import threading

import numpy as np
import pytest
import tensorflow as tf
from process_helpers import gone
from rows import SMALL_SCHEMA

from tfonline.features.parse import Parse
from tfonline.formats import FORMATS, decoders
from tfonline.formats.avro import Avro
from tfonline.formats.by_python import messages_of
from tfonline.formats.decoder_process import parts_of, whole
from tfonline.formats.decoders import Decoders
from tfonline.formats.framing import header
from tfonline.formats.schemas import Schemas, Written
from tfonline.lifecycle import Exit, UserError

COLUMNS = SMALL_SCHEMA.columns
ROWS = [[str(i % 2), str(i), "", f"a{i % 5}", f"grün{i}"] for i in range(40)]


@pytest.fixture
def with_processes():
    """Gives a format processes, which are ended with the test."""
    given = []

    def give(form, number=2):
        form = copy.copy(form)
        form.decoders = Decoders(form, number)
        given.append(form.decoders)
        return form

    yield give
    for each in given:
        each.close()


def parsed(form, messages):
    """What a graph of the parser makes of messages."""
    parse = Parse(SMALL_SCHEMA, form)
    graph = tf.function(parse.__call__, autograph=False, input_signature=[tf.TensorSpec([None], tf.string)])
    return [t.numpy().tolist() for t in tf.nest.flatten(graph(tf.constant(messages, tf.string)))]


@pytest.mark.parametrize("name", ["json_objects", "avro", "protobuf", "arrow"])
def test_they_decode_as_the_trainer_does(name, with_processes):
    form = FORMATS[name]
    messages = [form.encode(row, COLUMNS) for row in ROWS]
    if name == "arrow":
        messages[3:9] = [form.encode_rows(ROWS[3:9], COLUMNS)]
    messages[5], messages[7] = b"", b"\x00junk"
    apart = with_processes(form)
    for some in (messages, messages[:1], messages[5:6], []):
        np.testing.assert_equal(parsed(apart, some), parsed(form, some))


def test_a_schema_that_they_do_not_know_is_fetched_once_and_by_the_trainer(with_processes):
    said, asked = [], []
    text = json.dumps({"type": "record", "name": "Row", "fields": [{"name": "label", "type": "string"}]})

    def ask(number):
        asked.append(number)
        return Written("AVRO", text, {})

    form = Avro("", framing="confluent", schemas=Schemas(ask=ask, say=said.append), own_id=0)
    apart = with_processes(form, number=1)
    message = header(7) + b"\x021"
    task = pickle.dumps((_rows_and_who, (COLUMNS,)))
    found = [apart.decoders.decode(task, np.array([len(message)], np.int32), message) for _ in range(3)]
    assert [row for row, _ in found] == [([b"1\t\t\t\t"], [0])] * 3
    process = apart.decoders._processes[0].process.pid
    assert [pid for _, pid in found] == [os.getpid(), process, process]
    assert asked == [7]
    missing = "warning: schema 7 has no field for I1, I2, C1, C2: a missing value in each of its messages"
    assert said == ["schema 7 is fetched from the registry", missing]


def _rows_and_who(form, sizes, content, columns):
    return form.canonical(messages_of(sizes, content), columns), os.getpid()


def test_one_that_was_killed_ends_the_run_to_be_tried_again(with_processes):
    form = with_processes(FORMATS["json_objects"], number=1)
    [process] = form.decoders._processes
    os.kill(process.process.pid, signal.SIGKILL)
    with pytest.raises(tf.errors.OpError):
        parsed(form, [b"{}"])
    assert isinstance(form.error, UserError)
    assert form.error.code == Exit.TRY_AGAIN
    assert f"a process of --decoder_processes=1 was ended by SIGKILL (process {process.process.pid})" in str(form.error)


def test_closed_they_are_gone_and_nobody_waits_for_them(with_processes):
    form = with_processes(FORMATS["json_objects"], number=1)
    busy = form.decoders._free.get()
    ended = []

    def wait():
        try:
            form.decoders.decode(b"", np.zeros(0, np.int32), b"")
        except InterruptedError as e:
            ended.append(str(e))

    waiting = threading.Thread(target=wait)
    waiting.start()
    form.decoders.close()
    form.decoders._free.put(busy)
    waiting.join(10)
    assert ended == ["the decoders were closed"]
    assert gone(busy[0].process.pid)


def test_arrays_pass_without_a_copy_and_come_back_whole():
    data = {"a": np.arange(6, dtype=np.int32).reshape(2, 3), "b": np.zeros(0), "c": [b"x", None], "d": "text"}
    back = whole(memoryview(b"".join(parts_of(data))))
    np.testing.assert_equal(back, data)
    assert messages_of(np.array([1, 0, 2], np.int32), b"abc") == [b"a", b"", b"bc"]
    assert decoders._as_arrays((b"x\x00", 1))[0][()] == b"x\x00"
