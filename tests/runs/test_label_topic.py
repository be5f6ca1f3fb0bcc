"""Runs whose labels come in a topic of their own: each row has the label that its outcomes say, once, whatever is killed."""

import collections
import json
import time

import numpy as np
import pytest
import topic as topic_tool
from confluent_kafka import Producer
from kafka_cli import Connection
from rows import CLICKS_YAML

from tfonline.config import parse
from tfonline.evaluate.progressive import PREDICTION
from tfonline.train import run

NUMBER, WAIT_SECS = 3000, 60
FLAGS = [
    "--vocabulary_rows=256", "--admit_after=2", "--admit_counters=1024", "--oov_buckets=20", "--window_rows=400",
    "--window_secs=0.2", "--batch_size=50", "--deep_layers=8", "--embedding_dim=4", "--stop_at=latest", "--save_predictions",
    "--reader=consumer", "--checkpoint_every_steps=1", "--checkpoint_secs=0", f"--label_wait_secs={WAIT_SECS}",
    "--label_idle_secs=1e9",
]  # fmt: skip


class Stream:
    """Two topics: rows a tenth of a second apart, from an hour ago on, and their outcomes.

    Attributes:
      rows: of each row its partition, offset and time, by key.
      outcomes: of each outcome its key and time, in order.
    """

    def __init__(self, bootstrap: str, number: int = NUMBER, seed: int = 1):
        r = np.random.default_rng(seed)
        self.bootstrap = bootstrap
        self.topic, self.label_topic = (f"test-{time.time_ns()}-{name}" for name in ("rows", "labels"))
        for name, partitions in ((self.topic, 3), (self.label_topic, 2)):
            topic_tool.create(Connection(bootstrap, {}), name, partitions=partitions, replication=1)
        begin = int(time.time() * 1000) - 3_600_000
        self.rows: dict[bytes, tuple[int, int, int]] = {}
        self.outcomes: list[tuple[bytes, int, bytes]] = []
        offsets = collections.Counter()
        producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5})
        for n in range(number):
            key, ms, partition = b"row%d" % n, begin + 100 * n, int(r.integers(3))
            line = b"i%d\tu%d" % (r.integers(20), r.integers(50))
            producer.produce(self.topic, line, key, partition=partition, timestamp=ms)
            self.rows[key] = (partition, offsets[partition], ms)
            offsets[partition] += 1
            x = r.random()
            if x < 0.3:  # most are in time
                self.outcomes.append((key, ms + int(r.exponential(20_000)), b"1"))
            if x < 0.03:
                self.outcomes.append((key, ms + int(r.exponential(20_000)), b"1"))
            if 0.3 < x < 0.33:
                self.outcomes.append((key, ms - int(r.exponential(1000)) - 1, b"1"))
            if 0.33 < x < 0.36:
                self.outcomes.append((key, ms + 500, b"0"))
            if x > 0.98:
                self.outcomes.append((b"nobody%d" % n, ms, b""))
        self.outcomes.sort(key=lambda o: o[1])
        for i, (key, ms, value) in enumerate(self.outcomes):
            producer.produce(self.label_topic, value, key, partition=i % 2, timestamp=ms)
        producer.flush(60)

    @property
    def labels(self) -> dict[tuple[int, int], int]:
        """Of each row, by its place: whether an outcome of its key is in time."""
        positive = collections.defaultdict(list)
        for key, ms, value in self.outcomes:
            if value != b"0":
                positive[key].append(ms)
        return {(p, o): int(any(0 <= at - ms <= 1000 * WAIT_SECS for at in positive[key])) for key, (p, o, ms) in self.rows.items()}

    def flags(self, folder, *more: str) -> list[str]:
        (folder / "columns.yaml").write_text(CLICKS_YAML)
        return [
            "", f"--bootstrap_servers={self.bootstrap}", f"--topic={self.topic}", f"--label_topic={self.label_topic}",
            f"--columns={folder}/columns.yaml", f"--model_dir={folder}/model", *FLAGS, *more,
        ]  # fmt: skip

    def train(self, folder, *more: str) -> dict:
        return run(parse(self.flags(folder, *more))).summary


@pytest.fixture(scope="module")
def stream(broker):
    return Stream(broker.bootstrap)


def learned(folder) -> dict[tuple[int, int], int]:
    scored = np.fromfile(folder / "model" / "predictions.bin", PREDICTION)
    found = {(int(s["partition"]), int(s["offset"])): int(s["label"]) for s in scored}
    assert len(found) == len(scored)
    return found


def test_each_row_has_the_label_that_its_outcomes_say(stream, tmp_path):
    summary = stream.train(tmp_path)
    assert learned(tmp_path) == stream.labels
    assert summary["rows"] == NUMBER
    outcomes = summary["outcomes"]
    assert outcomes["joined"] == sum(stream.labels.values())
    assert outcomes["negative"] == sum(value == b"0" for *_, value in stream.outcomes)
    lines = (tmp_path / "model" / "windows.jsonl").read_text().splitlines()
    assert all(json.loads(line)["labels"]["stop"] for line in lines)


def test_every_positive_is_learned_from_once_more_where_rows_do_not_wait(stream, tmp_path):
    summary = stream.train(tmp_path, "--late_labels=fnw", "--label_memory_rows=50")
    assert [p for p in (tmp_path / "model").iterdir() if "waiting" in p.name] == []  # what was on disk is gone at the end
    assert set(learned(tmp_path).values()) == {0}
    # An outcome is learned from with the window that reaches its time; those behind the last row's time have no window yet.
    newest = max(ms for *_, ms in stream.rows.values())
    reached = {key for key, ms, value in stream.outcomes if value != b"0" and ms < newest - 1000}
    positive = {key for key, (p, o, _) in stream.rows.items() if stream.labels[p, o]}
    assert len(positive & reached) <= summary["late_rows"] <= len(positive)
    assert summary["outcomes"]["joined"] == summary["late_rows"]
    assert summary["rows"] == NUMBER


def test_a_run_that_is_resumed_at_any_window_learns_what_one_that_never_stopped_does(stream, tmp_path):
    for policy in ("wait", "fnw", "es_dfm"):
        flags = [f"--late_labels={policy}", "--label_elapsed_secs=5"]
        whole, parts = tmp_path / f"whole-{policy}", tmp_path / f"parts-{policy}"
        whole.mkdir()
        parts.mkdir()
        wanted = stream.train(whole, *flags)
        journal = (whole / "model" / "windows.jsonl").read_bytes().splitlines(keepends=True)
        for cut in (1, len(journal) // 2, len(journal)):
            (tmp_path / "cut.jsonl").write_bytes(b"".join(journal[:cut]))
            found = stream.train(parts, f"--replay_journal={tmp_path}/cut.jsonl", *flags)
        for name in ("rows", "late_rows", "outcomes", "fingerprint", "steps", "total"):
            assert found[name] == wanted[name], (policy, name)
        assert learned(parts) == learned(whole)
