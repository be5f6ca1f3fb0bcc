"""What the world does to a run, one fault at a time: what the operator sees, and that no row is lost or trained twice."""

import json
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from checkpoint_helpers import saved
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from kafka_helpers import read_messages
from kafka_readers import KAFKA_READERS
from rows import make_rows
from run_helpers import in_processes, in_threads

from benchmarks.chaos.poison import MUTATIONS
from tfonline import hangs, train
from tfonline.lifecycle import Stop, UserError
from tfonline.model.learner import Learner
from tfonline.start_and_stop import add_new_partitions
from tfonline.state import Position
from tfonline.stream import metadata
from tfonline.stream.journal import read_journal
from tfonline.stream.readers.memory import MemorySource

ROWS = make_rows(600)


# For tests of what the stream does.
on_each_reader = pytest.mark.parametrize("small_run", KAFKA_READERS, indirect=True)


@pytest.fixture
def small_run(small_run, request):
    """The flags, with the reader of `on_each_reader`."""
    reader = getattr(request, "param", "auto")
    return {**small_run, **({"reader_processes": 2} if reader == "processes" else {"reader": reader})}


@pytest.fixture
def admin(broker):
    return AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})


@pytest.fixture
def in_a_thread(start):
    """Starts a run that ends when the fixture's stop is asked for; gives (stop, result, thread): the summary, or the error."""
    with in_threads(lambda stop, **settings: start(stop, stop_at="never", **settings)) as begin:
        yield begin


@pytest.fixture
def in_a_process(small_run, tmp_path):
    """Starts the trainer as a process of its own: a read that is broken hangs in C++, where a test could not end it."""
    with in_processes(lambda **settings: {**small_run, **settings}, tmp_path / "trainer.log") as begin:
        yield begin


def wait_until(done, secs=30):
    deadline = time.monotonic() + secs
    while not done():
        assert time.monotonic() < deadline, "it never came"
        threading.Event().wait(0.01)


def rows_trained(tmp_path, rows):
    """Whether the status file tells of a window's end behind that many rows of window_rows=50."""
    try:
        return int((tmp_path / "model" / "status").read_text().split()[5]) * 50 >= rows
    except (OSError, IndexError):
        return False


# Retention


@on_each_reader
def test_rows_that_retention_took_stop_the_run_or_are_passed_over_and_counted(topic, start, produce, admin, tmp_path, capfd):
    name = topic([ROWS[:200]])
    assert start(topic=name)["rows"] == 200
    produce(name, ROWS[200:500])
    admin.delete_records([TopicPartition(name, 0, 300)])[TopicPartition(name, 0)].result()
    with pytest.raises(UserError, match=r"no longer in the log \(partition: offsets\): 0: \[200, 300\)") as e:
        start(topic=name, stop_at="never", max_idle_secs=5)
    assert e.value.code == 66
    assert "--on_lost_rows=skip" in str(e.value)
    summary = start(topic=name, on_lost_rows="skip", stop_at="never", max_idle_secs=0.5)
    assert (summary["rows"], summary["skipped"], summary["next"]) == (400, {"lost": 100}, [500])
    assert "100 offsets from [200] to [300]: LOST: retention had removed them" in capfd.readouterr().out
    assert [w.trigger for w in read_journal(tmp_path / "model" / "windows.jsonl")].count("lost") == 1


@on_each_reader
@pytest.mark.parametrize(("policy", "codes"), [("fail", [66]), ("skip", [75, 0])])
def test_rows_that_retention_takes_while_it_trains(topic, start, in_a_process, admin, policy, codes):
    """Before their window is planned, or while it waits to be read: then the next run goes on behind them."""
    name = topic([make_rows(4000)])
    trainer = in_a_process(topic=name, window_rows=20, checkpoint_every_steps=1, stop_at="latest", on_lost_rows=policy)
    trainer.wait_until(lambda phase, window, step: step > 5, 60, "it trains")
    admin.delete_records([TopicPartition(name, 0, 4000)])[TopicPartition(name, 0)].result()
    code = trainer.exit_code(60)
    assert code in codes, trainer.tail()
    if code:
        said = ("no longer in the log", "were removed from the log while their window waited to be read")
        assert any(text in trainer.tail() for text in said), trainer.tail()
    summary = start(topic=name, window_rows=20, on_lost_rows="skip")
    assert summary["rows"] + summary["skipped"]["lost"] == 4000


# Topic changes


@on_each_reader
def test_partitions_that_are_added_while_it_runs_are_read(topic, in_a_thread, produce, admin, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(metadata, "_REFRESH_SECS", 0.1)
    name = topic([ROWS[:100]])
    stop, result, thread = in_a_thread(topic=name, window_rows=50, window_secs=0.2)
    wait_until(lambda: rows_trained(tmp_path, 100))
    admin.create_partitions([NewPartitions(name, 3)])[name].result()
    produce(name, ROWS[100:150], partition=2)
    produce(name, ROWS[150:200], partition=0)
    wait_until(lambda: rows_trained(tmp_path, 200))
    stop.request("the test")
    thread.join()
    assert (result[0]["rows"], result[0]["next"]) == (200, [150, 0, 50])
    assert f"topic {name} has 3 partitions now, 2 of them new" in capfd.readouterr().out


@on_each_reader
@pytest.mark.parametrize(("again", "code", "said"), [(False, 66, "is no longer on"), (True, 78, "was deleted and made anew")])
def test_a_topic_that_is_deleted_while_it_runs(topic, in_a_process, produce, admin, tmp_path, again, code, said):
    name = topic([ROWS[:100]])
    trainer = in_a_process(topic=name, window_rows=50, checkpoint_every_steps=1, broker_timeout_secs=6)
    trainer.wait_until(lambda phase, window, step: (phase, window) == ("reading", 2), 60, "all is trained")
    admin.delete_topics([name])[name].result()
    if again:
        wait_until(lambda: name not in admin.list_topics(timeout=10).topics)
        threading.Event().wait(2)  # the run compares the ends each second, and finds no topic
        admin.create_topics([NewTopic(name, 1, 1)])[name].result()
        produce(name, ROWS[:300])
    trainer.wait_for_exit(code, 60, "its topic was deleted")
    assert said in trainer.tail()
    assert saved(tmp_path / "model")[1]["rows"] == 100  # nothing of the other topic


def test_a_topic_that_was_made_anew_between_two_runs(topic, start, admin, produce):
    name = topic([ROWS[:100]])
    start(topic=name)
    admin.delete_topics([name])[name].result()
    wait_until(lambda: name not in admin.list_topics(timeout=10).topics)
    admin.create_topics([NewTopic(name, 1, 1)])[name].result()
    produce(name, ROWS[:300])
    with pytest.raises(UserError, match="topic_id: the checkpoint has") as e:
        start(topic=name)
    assert e.value.code == 78


def test_a_checkpoint_from_before_a_partition_that_the_plan_knew_of_already():
    position = Position(next=[7, 9], start=[1, 2], stop=[20, 20, 0])
    add_new_partitions(position, MemorySource([[], [], [], []]))
    assert (position.next, position.start, position.stop) == ([7, 9, 0, 0], [1, 2, 0, 0], [20, 20, 0, 0])
    with pytest.raises(UserError, match="the checkpoint knows 4 partitions, memory has 2") as e:
        add_new_partitions(position, MemorySource([[], []]))
    assert e.value.code == 78


# Gaps


@on_each_reader
def test_a_compacted_topic_is_trained_on_what_is_left(broker, start, admin, produce, tmp_path):
    name = f"compacted-{tmp_path.name[-12:]}"
    settings = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "segment.ms": "100", "delete.retention.ms": "1"}
    admin.create_topics([NewTopic(name, 1, 1, config=settings)])[name].result()
    producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    for i, row in enumerate(ROWS[:60]):
        producer.produce(name, row, key=f"key{i % 4}")
        producer.flush()
        threading.Event().wait(0.005)  # so that segments roll
    threading.Event().wait(0.2)
    producer.produce(name, ROWS[60], key="last")
    producer.flush()
    wait_until(lambda: len(read_messages(broker.bootstrap, name)[0]) < 61, secs=60)
    left = len(read_messages(broker.bootstrap, name)[0])
    summary = start(topic=name)
    assert (summary["next"], 5 <= summary["rows"] <= left) == ([61], True)


# Poison


def test_every_kind_of_poison_is_refused_by_its_reason_and_sent_as_it_came(broker, topic, start, tmp_path):
    rows, poison = ROWS[:200], {}
    for place, (kind, (mutate, reason)) in enumerate(MUTATIONS.items()):
        poison[10 * place + 3] = (mutate(rows[0].split(b"\t")), reason, kind)
    for place, (value, _, _) in poison.items():
        rows[place] = value
    name, dead = topic([rows[:100], rows[100:]]), topic([[]])
    summary = start(topic=name, reader="consumer", dead_letter_topic=dead, max_rejected_ratio=1.0)
    assert (summary["rows"], summary["rejected"]) == (200 - len(MUTATIONS), len(MUTATIONS))
    lines = [json.loads(line) for line in (tmp_path / "model" / "rejected.jsonl").read_text().splitlines()]
    refused = {(line["partition"] * 100 + line["offset"]): line["reason"] for line in lines}
    assert refused == {place: reason for place, (_, reason, _) in poison.items()}
    letters = {}
    for message in read_messages(broker.bootstrap, dead)[0]:
        headers = {k.removeprefix("tfonline."): v.decode() for k, v in message.headers()}
        assert headers["topic"] == name
        letters[int(headers["partition"]) * 100 + int(headers["offset"])] = (message.value(), headers["reason"])
    assert letters == {place: (value, reason) for place, (value, reason, _) in poison.items()}


def test_rows_that_the_dead_letter_topic_refuses_are_never_passed_over(topic, start, admin, tmp_path):
    name = topic([[*ROWS[:50], b"x" * 5000, *ROWS[50:100]]])
    dead = f"{name}-refused"
    admin.create_topics([NewTopic(dead, 1, 1, config={"max.message.bytes": "2000"})])[dead].result()
    with pytest.raises(UserError, match=f"--dead_letter_topic={dead} did not take all refused rows") as e:
        start(topic=name, dead_letter_topic=dead)
    assert e.value.code == 64
    assert saved(tmp_path / "model")[1]["next"] == [0]
    assert start(topic=name)["rows"] == 100  # without it the row is counted and recorded


def test_a_dead_letter_topic_that_is_missing(topic, start):
    with pytest.raises(UserError, match="topic nowhere is not on") as e:
        start(topic=topic([ROWS[:10]]), dead_letter_topic="nowhere")
    assert e.value.code == 66


# Steps


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (tf.errors.ResourceExhaustedError, r"failed to allocate\nMemory ran out. Use a smaller --batch_size \(32\)"),
        (tf.errors.InternalError, r"failed to allocate\nWhere XLA is named above, leave out --jit_compile"),
    ],
)
def test_a_step_that_fails_is_not_told_as_reading_that_failed(topic, start, monkeypatch, tmp_path, error, said):
    """A supervisor does not try it again: exit 71."""
    name = topic([ROWS[:100]])

    def fail(*_):
        raise error(None, None, "failed to allocate")

    with monkeypatch.context() as patched:
        patched.setattr(Learner, "train_steps", fail)
        with pytest.raises(UserError, match=rf"the train step failed, at step 1 in window 0: {said}") as e:
            start(topic=name)
    assert e.value.code == 71
    assert str(tmp_path / "model" / "ckpt-0") in str(e.value)
    assert start(topic=name)["rows"] == 100


# Numbers


def break_a_step(monkeypatch, number, how):
    """Lets step `number` go wrong; `how` gets the learner and the step's result."""
    learn, steps = Learner.train_steps, []

    def learn_or_break(self, *batches):
        result = learn(self, *batches)
        steps.append(1)
        return how(self, result) if len(steps) == number else result

    monkeypatch.setattr(Learner, "train_steps", learn_or_break)


def test_a_window_that_breaks_the_model_can_be_passed_over_once(topic, start, tmp_path, monkeypatch, capfd):
    name = topic([ROWS[:200]])
    nan = tf.constant([float("nan")])
    break_a_step(monkeypatch, 5, lambda learner, result: result._replace(losses=dict.fromkeys(result.losses, nan)))
    settings = {"topic": name, "window_rows": 40, "batch_size": 20, "checkpoint_every_steps": 2}
    with pytest.raises(UserError, match="the loss is nan at step 5, in window 2") as e:
        start(**settings)
    assert e.value.code == 70
    failed = json.loads((tmp_path / "model" / "failed_windows.json").read_text())
    assert failed["windows"] == [{"number": 2, "start": [80], "stop": [120], "trigger": "rows"}]
    monkeypatch.undo()
    with pytest.raises(UserError, match="--skip_window=9: the journal has no such window") as e:
        start(**settings, skip_window=9)
    assert e.value.code == 64
    summary = start(**settings, skip_window=2)
    assert (summary["rows"], summary["skipped"], summary["next"]) == (160, {"passed": 40}, [200])
    assert "window 2, 40 offsets from [80] to [120]: PASSED OVER by --skip_window" in capfd.readouterr().out
    assert [w.trigger for w in read_journal(tmp_path / "model" / "windows.jsonl")] == ["rows", "rows", "passed", "rows", "rows"]
    start(**settings, skip_window=2)
    assert "--skip_window=2 lies behind the checkpoint" in capfd.readouterr().out


def test_weights_that_are_not_finite_never_reach_a_checkpoint(topic, start, tmp_path, monkeypatch):
    """Even where no row of the stream has met them and the loss is as good as ever."""

    def poison_a_row_that_nothing_looks_up(learner, result):
        table = learner.model.embedding.table
        table.assign(tf.tensor_scatter_nd_update(table, [[0]], [[float("inf")] * table.shape[1]]))
        return result

    break_a_step(monkeypatch, 3, poison_a_row_that_nothing_looks_up)
    with pytest.raises(UserError, match="a weight is NaN or infinite, in window 2 to 3") as e:
        start(topic=topic([ROWS[:200]]), window_rows=20, batch_size=20, checkpoint_every_steps=2)
    assert e.value.code == 70
    tensors, position = saved(tmp_path / "model")
    assert position["window"] == 2
    assert all(np.isfinite(t).all() for n, t in tensors.items() if n.endswith("VARIABLE_VALUE"))


# Changes


def test_changes_that_are_safe_are_accepted_and_said(topic, start, capfd):
    name = topic([ROWS[:200]])
    start(topic=name, stop_at="latest")
    start(topic=name, stop_at="latest", batch_size=64, deep_learning_rate=0.002, window_rows=100)
    output = capfd.readouterr().out
    for change in ("--batch_size: 32 -> 64", "--deep_learning_rate: 0.001 -> 0.002", "--window_rows: 10000 -> 100"):
        assert change in output


# A read that hangs


class Reachable:
    name = "clicks"
    events = SimpleNamespace(last="host:1: too large")

    def check_reachable(self):
        pass


def test_a_read_that_hangs_while_the_broker_answers_ends_the_run(monkeypatch, capfd):
    left = []
    monkeypatch.setattr(hangs, "leave", left.append)
    stop, console = Stop(), train.Console()
    hangs.stuck(30, 30, Reachable(), lambda: None, stop, console)
    assert left == []
    hangs.stuck(120, 30, Reachable(), lambda: None, stop, console)
    assert left == [75]
    assert "the broker answers, but a read of topic clicks hangs: no row for 120 s (host:1: too large)." in capfd.readouterr().err
