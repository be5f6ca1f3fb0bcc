"""What the world does to a run whose labels come in a topic of their own: what the operator sees, and that labels stay true."""

import json
import os
import signal
import threading

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from process_helpers import wait_until
from run_helpers import in_processes, in_threads
from two_topics import TwoTopics

from benchmarks.chaos.trainer import Trainer, command_of
from tfonline.lifecycle import UserError
from tfonline.stream import metadata
from tfonline.stream.journal import read_journal


@pytest.fixture
def admin(broker):
    return AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})


@pytest.fixture
def topics(broker, tmp_path):
    return TwoTopics(broker.bootstrap, tmp_path)


@pytest.fixture
def in_a_thread():
    """Starts a run that ends when the fixture's stop is asked for; gives (stop, result, thread): the summary, or the error."""
    with in_threads(lambda stop, topics, **flags: topics.train(stop=stop, **{"stop_at": "never", **flags})) as begin:
        yield begin


@pytest.fixture
def in_a_process(tmp_path):
    with in_processes(lambda topics, **flags: topics.flags(**flags), tmp_path / "trainer.log") as begin:
        yield begin


def learned_rows(topics):
    """How many rows are in predictions.bin now."""
    path = topics.folder / "model" / "predictions.bin"
    return path.stat().st_size // 20 if path.exists() else 0


def delete_before(admin, topic, *offsets):
    partitions = [TopicPartition(topic, p, o) for p, o in enumerate(offsets)]
    for done in admin.delete_records(partitions).values():
        done.result()


# Flags and topics that are not there


def test_a_label_topic_that_is_missing(topics):
    with pytest.raises(UserError, match="topic nowhere is not on") as e:
        topics.train(label_topic="nowhere")
    assert e.value.code == 66


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"label_key": "request"}, "--label_key=request is no column. Expected one of item, user, or nothing"),
        ({"label_time": "item"}, r"--label_time=item is no column of kind time \(of which there is none\)"),
        ({"message_format": "arrow"}, "--label_topic joins messages of one row each, and those of arrow have many"),
    ],
)
def test_flags_that_name_what_is_not_there(topics, flags, said):
    topics.add_rows(1)
    with pytest.raises(UserError, match=said) as e:
        topics.train(**flags)
    assert e.value.code == 64


def test_a_dry_run_says_what_it_would_do_and_leaves_nothing(topics, capfd):
    topics.fill(50)
    topics.train(dry_run=True)
    assert "50" in capfd.readouterr().out
    assert not (topics.folder / "model").exists()


def test_another_label_topic_is_another_model(topics, broker):
    topics.fill(100)
    topics.train()
    other = TwoTopics(broker.bootstrap, topics.folder)
    with pytest.raises(UserError, match="label_topic") as e:
        topics.train(label_topic=other.label_topic)
    assert e.value.code == 78


# Outcomes that are behind, away, or gone


def test_rows_wait_for_outcomes_that_are_behind_and_go_on_when_they_come(topics, in_a_thread, capfd):
    keys = topics.add_rows(200, secs_ago=600)
    stop, result, thread = in_a_thread(topics, label_idle_secs=30)
    said = ""

    def waits():
        nonlocal said
        said += capfd.readouterr().out
        return f"rows wait for the outcomes of {topics.label_topic}: none has come" in said

    wait_until(waits)
    assert learned_rows(topics) == 0
    topics.add_outcomes(keys[:80])
    topics.add_outcome_of_nobody()
    wait_until(lambda: learned_rows(topics) == 200)
    stop.request("the test")
    thread.join()
    said += capfd.readouterr().out
    assert said.count("rows wait for the outcomes") == 1
    assert said.count("have come, rows are learned from again") == 1
    assert topics.learned() == topics.labels
    assert result[0]["outcomes"]["joined"] == 80


def test_a_label_topic_that_is_deleted_while_it_runs(topics, in_a_process, admin):
    topics.fill(100)
    trainer = in_a_process(topics, stop_at="never", broker_timeout_secs=6)
    trainer.wait_until(lambda phase, window, step: window > 0 and phase == "reading", 60, "all is trained")
    wait_until(lambda: learned_rows(topics) == 100)
    admin.delete_topics([topics.label_topic])[topics.label_topic].result()
    topics.add_rows(10, secs_ago=200)
    trainer.wait_for_exit(66, 60, "its label topic was deleted")
    assert f"topic {topics.label_topic} is no longer on" in trainer.tail()
    assert learned_rows(topics) == 100


def test_outcomes_of_journalled_windows_that_retention_took(topics, admin, capfd):
    """A run was killed behind its second window, and others were in the journal."""
    topics.fill(400)
    topics.train("whole")
    whole, cut, own = (topics.folder / path for path in ("whole/windows.jsonl", "cut.jsonl", "model/windows.jsonl"))
    cut.write_bytes(b"".join(whole.read_bytes().splitlines(keepends=True)[:2]))
    topics.train(replay_journal=str(cut))
    own.write_bytes(whole.read_bytes())
    [_, second, *_, last] = read_journal(own)
    delete_before(admin, topics.label_topic, second.labels.stop[0], 0)
    with pytest.raises(UserError, match=f"outcomes that a window is joined with are no longer in {topics.label_topic}") as e:
        topics.train()
    assert e.value.code == 66
    assert "--on_lost_rows=skip" in str(e.value)
    capfd.readouterr()
    summary = topics.train(on_lost_rows="skip")
    assert f"warning: outcomes that a window is joined with are no longer in {topics.label_topic}" in capfd.readouterr().out
    assert summary["rows"] == 400
    assert summary["outcomes"]["read"] == sum(last.labels.stop)
    # Of all others the outcomes are there still.
    gone = {topics.rows[key][:2] for key, partition, o, _ in topics.outcomes if partition == 0 and o < second.labels.stop[0]}
    later = {place for place in gone if place[1] >= second.stop[place[0]]}
    assert topics.learned() == topics.labels | dict.fromkeys(later, 0)


@pytest.mark.parametrize("policy", ["wait", "fnw"])
def test_outcomes_that_retention_took_before_they_were_read(topics, admin, capfd, policy):
    topics.fill(200)
    topics.train(late_labels=policy)
    read = read_journal(topics.folder / "model" / "windows.jsonl")[-1].labels.stop
    keys = topics.add_rows(200, secs_ago=1000)
    topics.add_outcomes(keys)
    delete_before(admin, topics.label_topic, read[0] + 20, 0)
    with pytest.raises(UserError, match=f"outcomes that no window has read are no longer in {topics.label_topic}") as e:
        topics.train(late_labels=policy)
    assert e.value.code == 66
    capfd.readouterr()
    summary = topics.train(late_labels=policy, on_lost_rows="skip")
    assert "warning: outcomes that no window has read are no longer in" in capfd.readouterr().out
    assert summary["rows"] == 400
    assert summary["outcomes"]["joined"] < len(topics.outcomes)


def test_rows_that_an_outcome_may_still_come_for_and_that_retention_took(topics, admin, capfd):
    """They have been learned from; what is missing is what a resumed run holds of them."""
    topics.fill(200)
    topics.train(late_labels="fnw", label_wait_secs=7200)
    position = [sum(p == q for p, *_ in topics.rows.values()) for q in range(2)]
    delete_before(admin, topics.topic, *position)
    topics.add_rows(50, secs_ago=1000)
    with pytest.raises(UserError, match=f"rows that an outcome may still come for are no longer in {topics.topic}") as e:
        topics.train(late_labels="fnw", label_wait_secs=7200)
    assert e.value.code == 66
    capfd.readouterr()
    summary = topics.train(late_labels="fnw", label_wait_secs=7200, on_lost_rows="skip")
    assert summary["rows"] == 250
    assert "warning: rows that an outcome may still come for are no longer in" in capfd.readouterr().out


def test_rows_that_retention_took_before_they_were_read(topics, admin):
    topics.fill(200)
    topics.train()
    topics.add_outcomes(topics.add_rows(200, secs_ago=1000))
    lost = [sum(p == q for p, *_ in list(topics.rows.values())[:250]) for q in range(2)]
    delete_before(admin, topics.topic, *lost)
    with pytest.raises(UserError, match="rows that were to be trained next are no longer in the log") as e:
        topics.train()
    assert e.value.code == 66
    summary = topics.train(on_lost_rows="skip")
    assert summary["skipped"] == {"lost": 50}
    labels = topics.labels
    assert topics.learned() == {place: labels[place] for place in topics.learned()}
    assert len(topics.learned()) == 350


def test_a_broker_that_is_away_for_a_moment(tmp_path, tmp_path_factory):
    """One of its own: the others' tests want theirs."""
    import broker as broker_tool

    data = tmp_path_factory.mktemp("kafka")
    broker = broker_tool.start(data)
    try:
        topics = TwoTopics(broker.bootstrap, tmp_path).fill(300)
        topics.add_outcome_of_nobody()
        trainer = Trainer(command_of(""), topics.flags(stop_at="never", broker_timeout_secs=60), tmp_path / "trainer.log")
        try:
            wait_until(lambda: learned_rows(topics) == 300)
            os.kill(broker.pid, signal.SIGSTOP)
            threading.Event().wait(4)
            os.kill(broker.pid, signal.SIGCONT)
            topics.add_rows(100, secs_ago=300, outcome_every=2)
            wait_until(lambda: learned_rows(topics) == 400)
            trainer.terminate()
            trainer.wait_for_exit(0, 60, "SIGTERM")
        finally:
            trainer.kill()
        assert topics.learned() == topics.labels
    finally:
        os.kill(broker.pid, signal.SIGCONT)
        broker_tool.stop(data)


# Partitions


def test_partitions_that_either_topic_gets_while_it_runs(topics, in_a_thread, monkeypatch, capfd):
    monkeypatch.setattr(metadata, "_REFRESH_SECS", 0.1)
    topics.fill(200)
    stop, result, thread = in_a_thread(topics)
    wait_until(lambda: learned_rows(topics) == 200)
    topics.add_partitions(2, 4)
    topics.add_rows(100, secs_ago=1000, outcome_every=2)
    wait_until(lambda: learned_rows(topics) == 300)
    topics.add_partitions(5, 4)
    topics.add_rows(100, secs_ago=500, outcome_every=2)
    wait_until(lambda: learned_rows(topics) == 400)
    stop.request("the test")
    thread.join()
    assert result[0]["rows"] == 400
    assert topics.learned() == topics.labels
    said = capfd.readouterr().out
    assert f"topic {topics.label_topic} has 4 partitions now" in said
    assert f"topic {topics.topic} has 5 partitions now" in said
    # And another run goes on from there.
    topics.add_rows(50, secs_ago=300, outcome_every=2)
    assert topics.train()["rows"] == 450
    assert topics.learned() == topics.labels


# Ends


@pytest.mark.parametrize("policy", ["wait", "fnw", "es_dfm"])
def test_killed_and_stopped_in_the_middle_labels_are_those_of_an_independent_join(topics, in_a_process, policy):
    topics.fill(1500)
    flags = {"late_labels": policy, "window_rows": 50, "batch_size": 10, "label_memory_rows": 50}
    for window, end in ((4, "kill"), (10, "terminate")):
        trainer = in_a_process(topics, **flags)
        trainer.wait_until(lambda phase, at, step, window=window: at >= window, 90, "it trains")
        getattr(trainer, end)()
        if end == "terminate":
            trainer.wait_for_exit(0, 60, "SIGTERM")
    half = learned_rows(topics)
    assert 0 < half < 1500
    summary = topics.train(**flags)
    found = topics.learned()
    assert found.keys() == topics.labels.keys()
    if policy == "wait":
        assert found == topics.labels
        return
    labels = topics.labels
    assert all(labels[place] for place, label in found.items() if label)
    assert (sum(found.values()) > 0) == (policy == "es_dfm")
    assert summary["late_rows"] + sum(found.values()) == topics.late() > 100
    assert summary["outcomes"]["joined"] == topics.late()
    undisturbed = topics.train("replayed", replay_journal=f"{topics.folder}/model/windows.jsonl", **flags)
    for name in ("rows", "late_rows", "outcomes", "fingerprint", "steps", "total"):
        assert undisturbed[name] == summary[name], name


def test_ctrl_c_ends_a_run_that_waits_for_outcomes(topics, in_a_process):
    topics.add_rows(100, secs_ago=600)
    trainer = in_a_process(topics, label_idle_secs=30)
    wait_until(lambda: "rows wait for the outcomes" in trainer.tail())
    os.kill(trainer.pid, signal.SIGINT)
    trainer.wait_for_exit(0, 60, "Ctrl-C")
    topics.add_outcome_of_nobody()
    assert topics.train(label_idle_secs=1000)["rows"] == 100


def test_rows_that_were_passed_over_are_not_brought_back_by_their_outcomes(topics):
    """--lag_policy=skip, and a restart: the resumed run reads again what may still get an outcome, and that is not all."""
    topics.add_rows(300)
    flags = {"late_labels": "fnw", "lag_policy": "skip", "max_lag_rows": 100, "label_wait_secs": 7200}
    first = topics.train(**flags)
    assert (first["rows"], first["skipped"]) == (100, {"skip": 200})
    topics.add_outcomes(topics.rows, most_secs=1)
    topics.add_rows(50, secs_ago=10)  # the window of these reads the outcomes
    resumed = topics.train(**flags)
    assert resumed["late_rows"] == resumed["outcomes"]["joined"] == 100
    assert resumed["outcomes"]["read"] == 300


def test_a_model_that_begins_behind_the_first_rows_learns_once_more_of_its_own_alone(topics):
    old, new = topics.add_rows(100, secs_ago=1000), topics.add_rows(200, secs_ago=900)
    offsets = {p: sum(topics.rows[key][0] == p for key in old) for p in range(2)}
    (topics.folder / "offsets.json").write_text(json.dumps(offsets))
    flags = {"late_labels": "fnw", "label_wait_secs": 7200}
    assert topics.train(start=f"offsets:{topics.folder}/offsets.json", **flags)["rows"] == len(new)
    topics.add_outcomes([*old, *new], most_secs=1)
    topics.add_rows(50, secs_ago=10)
    assert topics.train(**flags)["late_rows"] == len(new)


# Rows that are refused


@pytest.mark.parametrize("policy", ["wait", "fnw"])
def test_garbage_and_rows_without_a_key_are_refused_by_their_reasons(topics, policy):
    topics.fill(300)
    refused = topics.add_rows(3, messages=[b"a\tb\tc\td", None, b""]) + topics.add_rows(1, key=False)
    topics.add_outcomes(refused[:3], most_secs=0)
    topics.add_rows(50, secs_ago=3000)
    reasons = dict(zip(refused, ("fields", "tombstone", "empty", "key"), strict=True))
    summary = topics.train(late_labels=policy, max_rejected_ratio=1.0)
    assert summary["rejected_by_reason"] == dict.fromkeys(reasons.values(), 1)
    lines = [json.loads(line) for line in (topics.folder / "model" / "rejected.jsonl").read_text().splitlines()]
    found = {(line["partition"], line["offset"]): line["reason"] for line in lines}
    assert found == {topics.rows[key][:2]: reason for key, reason in reasons.items()}
    assert len(lines) == 4
    assert summary["rows"] == 350
    # An outcome of a refused row teaches nothing, and is told of once.
    assert summary["late_rows"] == (topics.late() - 3 if policy == "fnw" else 0)
