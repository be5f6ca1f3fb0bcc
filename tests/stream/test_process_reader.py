"""The reader of several processes: rows, order and errors are those of one consumer; and how its processes end."""

import contextlib
import gc
import os
import pathlib
import signal
import subprocess
import sys
import threading

import broker as broker_tool
import pytest
import tensorflow as tf
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions
from contracts.readers import chain, read_windows, unpacked
from kafka_helpers import make_topic, read_messages
from kafka_readers import process_reader
from process_helpers import gone, wait_until

from tfonline.lifecycle import Stop, UserError
from tfonline.stream.broker import KafkaTopic
from tfonline.stream.order import make_raw_batches
from tfonline.stream.readers import processes, worker
from tfonline.stream.readers.consumer import ConsumerReader
from tfonline.stream.records import RowsGone
from tfonline.stream.window import Window

SECS = 120


def open_topic(broker, name):
    return KafkaTopic(broker.bootstrap, name, "test", {}, 30.0, Stop(), print)


@pytest.fixture
def opened(broker):
    """Opens readers of topics, and closes them."""
    with contextlib.ExitStack() as closing:

        def open_one(name, *args, **more):
            reader = process_reader(open_topic(broker, name), broker.bootstrap, *args, **more)
            closing.callback(reader.close)
            return reader

        yield open_one


def take_all(reader, partition, start, stop):
    reader.place({partition: (start, stop)})
    return unpacked(reader.take(partition, 100_000))


def processes_of(reader):
    return {number: process.process for number, process in reader._processes.items()}


def numbered(count):
    return [b"%d" % i for i in range(count)]


@pytest.fixture(scope="module")
def mixed(broker):
    """A topic with committed, aborted and plain rows, tombstones, times and an empty partition."""
    name = make_topic(broker.bootstrap, [numbered(2500), numbered(600), [], [], numbered(1)])
    plain = Producer({"bootstrap.servers": broker.bootstrap})
    for partition in (0, 1, 3):
        for part, committed in enumerate((True, False, True, False)):
            producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": f"{name}-{partition}-{part}"})
            producer.init_transactions(SECS)
            producer.begin_transaction()
            for i in range(40):
                producer.produce(name, b"" if i % 7 == 0 else b"%d-%d\x00" % (part, i), partition=partition, timestamp=1000 + i)
            producer.flush()
            producer.commit_transaction(SECS) if committed else producer.abort_transaction(SECS)
        plain.produce(name, None, key=b"k", partition=partition)
        plain.flush()
    return name


@pytest.mark.parametrize(("seed", "groups", "num_processes"), [(1, 1, 1), (2, 1, 2), (3, 2, 2), (4, 3, 4)])
def test_it_gives_what_one_consumer_gives_in_the_same_order(broker, mixed, opened, seed, groups, num_processes, monkeypatch):
    monkeypatch.setattr(processes, "_PIECE_ROWS", 600)  # several pieces of a range
    ends = open_topic(broker, mixed).ends()
    windows = chain([[(offset, b"") for offset in range(end)] for end in ends], seed)

    def read(reader):
        return [
            (int(number), bool(last), *(t.numpy().tolist() for t in tf.nest.flatten(raw)))
            for raw, number, last in make_raw_batches(windows, reader, 96, groups)
        ]

    found = read(opened(mixed, num_processes))
    assert found == read(ConsumerReader(open_topic(broker, mixed)))
    there = read_messages(broker.bootstrap, mixed)
    assert sum(len(batch[2]) for batch in found) == sum(map(len, there.values()))
    assert any(any(batch[3]) for batch in found)  # tombstones
    assert any(1000 in batch[6] for batch in found)  # times


def test_a_piece_has_so_many_bytes_and_not_many_rows_where_rows_are_large(opened, topic, monkeypatch):
    monkeypatch.setattr(processes, "_PIECE_BYTES", 5000)
    monkeypatch.setattr(processes, "_LEAST_PIECE_BYTES", 1)
    rows = [b"%04d" % i * 250 for i in range(200)]  # a kilobyte each
    reader = opened(topic([rows]))
    reader.place({0: (0, 200)})
    pieces, add = [], processes._Range.add
    monkeypatch.setattr(processes._Range, "add", lambda at, piece, go_on: [pieces.append(len(piece)), add(at, piece, go_on)])
    assert unpacked(reader.take(0, 200)).message == rows
    assert pieces == [64, *[5] * 27, 1]  # of the first 64 their size is learned


def test_more_windows_than_processes_and_a_range_that_was_not_taken_to_its_end(opened, topic):
    name = topic([numbered(3000), numbered(10)])
    reader = opened(name)
    reader.place({0: (0, 3000), 1: (0, 10)})
    assert unpacked(reader.take(0, 5)).message == numbered(5)
    assert take_all(reader, 0, 1000, 3000).message == numbered(3000)[1000:]
    assert take_all(reader, 1, 3, 10).offset == list(range(3, 10))
    assert take_all(reader, 1, 10, 10).offset == []


def test_no_more_processes_than_partitions_and_new_partitions_are_read(opened, topic, broker, produce):
    name = topic([numbered(3)])
    reader = opened(name, num_processes=3)
    assert take_all(reader, 0, 0, 3).offset == [0, 1, 2]
    assert list(processes_of(reader)) == [0]
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    admin.create_partitions([NewPartitions(name, 4)])[name].result()
    for partition in (1, 3):
        produce(name, [b"new"], partition)
    reader.place({0: (3, 3), 1: (0, 1), 3: (0, 1)})
    assert [unpacked(reader.take(p, 10)).message for p in (0, 1, 3)] == [[], [b"new"], [b"new"]]
    assert list(processes_of(reader)) == [0, 1]  # partition 3 is read beside partition 0


def test_the_partitions_of_a_worker_of_a_cluster_use_all_its_processes(opened, topic):
    reader = opened(topic([[], numbered(2), [], numbered(2)]), num_processes=2, num_workers=2)
    reader.place({1: (0, 2), 3: (0, 2)})
    assert [unpacked(reader.take(p, 10)).offset for p in (1, 3)] == [[0, 1], [0, 1]]
    assert sorted(processes_of(reader)) == [0, 1]


def test_a_process_loads_no_tensorflow():
    program = f"import sys, {worker.__name__}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_secrets_are_neither_in_a_process_arguments_nor_in_its_environment(broker, topic, opened):
    name = topic([numbered(1)])
    admin = open_topic(broker, name)
    given = {"sasl.password": "hunter2"}  # without security.protocol it is of no use
    source = worker.Source(broker.bootstrap, name, "test", given, 30.0, 1)
    reader = processes.ProcessReader(source, 1, 1, admin.events, print)
    assert take_all(reader, 0, 0, 1).message == [b"0"]
    [process] = processes_of(reader).values()
    seen = b"".join(pathlib.Path(f"/proc/{process.pid}/{file}").read_bytes() for file in ("cmdline", "environ"))
    reader.close()
    assert b"tfonline.stream.readers.worker" in seen
    assert b"hunter2" not in seen


# Errors


def test_rows_that_retention_has_removed_are_told(opened, topic, broker):
    name = topic([numbered(10)])
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    admin.delete_records([TopicPartition(name, 0, 5)])[TopicPartition(name, 0)].result()
    with pytest.raises(RowsGone, match="partition 0: from 2"):
        take_all(opened(name), 0, 2, 8)


def test_an_error_of_a_process_keeps_its_text_and_its_exit_code(opened, broker):
    reader = opened(make_topic(broker.bootstrap, [numbered(3)]))
    reader._source = reader._source._replace(topic="nowhere")
    with pytest.raises(UserError, match=f"topic nowhere is not on {broker.bootstrap}") as e:
        take_all(reader, 0, 0, 3)
    assert e.value.code == 66


def test_a_bug_in_a_process_is_told_with_its_traceback_and_without_secrets(opened, topic):
    reader = opened(topic([numbered(3)]))
    reader._source = reader._source._replace(properties={"sasl.password": "hunter2", "no.such.property": "hunter2"})
    with pytest.raises((RuntimeError, UserError), match=r"no\.such\.property") as e:
        take_all(reader, 0, 0, 3)
    assert "hunter2" not in str(e.value)
    reader = opened(topic([numbered(3)]))
    reader._source = reader._source._replace(timeout_secs="soon")
    with pytest.raises(RuntimeError, match=r"a process of --reader_processes failed: Traceback(.|\n)*TypeError"):
        take_all(reader, 0, 0, 3)


def test_a_process_that_is_killed_is_an_error_that_may_be_tried_again(opened, topic):
    reader, killed = opened(topic([numbered(3)])), threading.Event()

    def planner():
        yield Window(0, (0,), (3,), "rows")
        killed.wait(SECS)
        yield Window(1, (3,), (9,), "rows")

    batches = iter(make_raw_batches(planner(), reader, 10))
    assert [int(next(batches)[1]) for _ in range(2)] == [0, 0]
    [process] = processes_of(reader).values()
    process.kill()
    killed.set()
    with pytest.raises(tf.errors.OpError):
        list(batches)
    assert reader.error.code == 75
    assert f"a process of --reader_processes=2 was ended by SIGKILL (process {process.pid})" in str(reader.error)


def test_a_broker_that_goes_and_comes_back(tmp_path):
    data = tmp_path / "kafka"
    broker = broker_tool.start(data)
    try:
        admin = open_topic(broker, make_topic(broker.bootstrap, [numbered(5)]))
        reader = process_reader(admin, broker.bootstrap)
        assert take_all(reader, 0, 0, 5).message == numbered(5)
        found = []
        thread = threading.Thread(target=lambda: found.append(take_all(reader, 0, 5, 7)))
        thread.start()
        broker_tool.kill(data)
        # What hangs.py and the error that ends a run say of it.
        wait_until(lambda: "onnection refused" in admin.events.last)
        assert broker_tool.start(data).bootstrap == broker.bootstrap
        producer = Producer({"bootstrap.servers": broker.bootstrap})
        for value in (b"5", b"6"):
            producer.produce(admin.name, value, partition=0)
        producer.flush()
        thread.join(SECS)
        assert [rows.message for rows in found] == [[b"5", b"6"]]
        reader.close()
    finally:
        broker_tool.kill(data)


# Ends


def test_a_wait_for_rows_ends_when_the_reader_is_closed(opened, topic):
    reader, found = opened(topic([numbered(1)])), []
    thread = threading.Thread(target=lambda: found.extend(make_raw_batches([Window(0, (0,), (5,), "rows")], reader, 10)))
    thread.start()
    wait_until(lambda: processes_of(reader))
    assert thread.is_alive()
    reader.close()
    thread.join(SECS)
    assert not thread.is_alive()
    assert reader.error is None
    assert all(process.returncode is not None for process in processes_of(reader).values())
    with pytest.raises(InterruptedError):
        take_all(reader, 0, 0, 1)


def test_a_process_goes_on_when_all_are_told_to_stop(opened, topic, produce):
    """As by a supervisor, or Ctrl-C: the trainer says when it is over."""
    name = topic([numbered(3)])
    reader = opened(name)
    assert take_all(reader, 0, 0, 3).offset == [0, 1, 2]
    [process] = processes_of(reader).values()
    for told in (signal.SIGTERM, signal.SIGINT):
        process.send_signal(told)
    produce(name, [b"more"])
    assert take_all(reader, 0, 3, 4).message == [b"more"]
    assert process.poll() is None


def test_a_reader_that_is_forgotten_leaves_no_process(broker, topic):
    reader = process_reader(open_topic(broker, topic([numbered(3)])), broker.bootstrap)
    assert take_all(reader, 0, 0, 3).offset == [0, 1, 2]
    [process] = processes_of(reader).values()
    del reader
    gc.collect()
    assert process.returncode == -signal.SIGKILL


def test_read_windows_of_a_reader_by_itself(opened, topic):
    """What is asked for ahead does not depend on who reads: windows of one row, of many partitions."""
    lines = [numbered(20 + p) for p in range(9)]
    windows = chain([list(enumerate(rows)) for rows in lines], 5)
    found = read_windows(opened(topic(lines), 3), windows, 7)
    assert sorted((p, o, m) for _, p, o, m in found) == sorted(
        (p, o, m) for p, rows in enumerate(lines) for o, m in enumerate(rows)
    )


def test_a_process_ends_with_a_trainer_that_is_killed(broker, topic, tmp_path):
    name = topic([numbered(3)])
    program = f"""
import sys, time
from kafka_readers import process_reader
from tfonline.lifecycle import Stop
from tfonline.stream.broker import KafkaTopic
reader = process_reader(KafkaTopic("{broker.bootstrap}", "{name}", "test", {{}}, 30.0, Stop(), print), "{broker.bootstrap}")
reader.place({{0: (0, 3)}})
reader.take(0, 3)
reader.place({{0: (3, 9)}})  # rows that never come
print(*[process.process.pid for process in reader._processes.values()], flush=True)
time.sleep(600)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    trainer = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
    pid = int(trainer.stdout.readline())
    assert pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    trainer.kill()
    trainer.communicate()
    wait_until(lambda: gone(pid))
