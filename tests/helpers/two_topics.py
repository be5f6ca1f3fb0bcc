"""Rows in one topic and their outcomes in another one, on a real broker; and what the labels must be."""

import collections
import time
import uuid

import numpy as np
import topic as topic_tool
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions
from kafka_cli import Connection
from rows import CLICKS_YAML

from tfonline.config import of_flags
from tfonline.evaluate.progressive import PREDICTION
from tfonline.stream.journal import read_journal
from tfonline.train import run

WAIT_SECS = 60
FLAGS = {
    "vocabulary_rows": 256, "admit_after": 2, "admit_counters": 1024, "oov_buckets": 20, "window_rows": 100, "window_secs": 0.2,
    "batch_size": 50, "deep_layers": "8", "embedding_dim": 4, "stop_at": "latest", "save_predictions": True, "reader": "consumer",
    "checkpoint_every_steps": 1, "checkpoint_secs": 0, "label_wait_secs": WAIT_SECS, "label_idle_secs": 1e9, "report_secs": 0.001,
    "label_elapsed_secs": 5, "drift_rows": 0,
}  # fmt: skip


class TwoTopics:
    """Two new topics.

    Attributes:
      rows: of each row its partition, offset and time in milliseconds, by key.
      outcomes: of each positive outcome its key, partition, offset and time.
    """

    def __init__(self, bootstrap: str, folder, row_partitions: int = 2, label_partitions: int = 2):
        self.folder, self.bootstrap = folder, bootstrap
        self.row_partitions, self.label_partitions = row_partitions, label_partitions
        self.topic, self.label_topic = (f"test-{uuid.uuid4().hex[:12]}-{name}" for name in ("rows", "labels"))
        for name, partitions in ((self.topic, row_partitions), (self.label_topic, label_partitions)):
            topic_tool.create(Connection(bootstrap, {}), name, partitions=partitions, replication=1)
        self._settings = {"bootstrap.servers": bootstrap, "linger.ms": 1, "log_level": 0}
        self._producer = Producer(self._settings)
        self.random, self._offsets = np.random.default_rng(7), collections.Counter()
        self.rows: dict[bytes, tuple[int, int, int]] = {}
        self.outcomes: list[tuple[bytes, int, int, int]] = []

    def add_rows(
        self,
        number: int,
        secs_ago: float = 3600.0,
        apart_secs: float = 0.1,
        messages: list | tuple = (),
        key: bool = True,
        outcome_every: int = 0,
    ) -> list[bytes]:
        """Appends rows of that age; returns their keys.

        Args:
          number: of rows.
          secs_ago: when the first one was.
          apart_secs: the rows.
          messages: theirs; (): made ones.
          key: whether they have one.
          outcome_every: one of every so many rows has an outcome, which is there before the rows are: a run that goes on meanwhile
            might else learn from a row first. 0: they get none here.
        """
        keys, rows, begin = [], [], time.time() - secs_ago
        for n in range(number):
            keys.append(b"row%d" % len(self.rows))
            message = messages[n] if messages else b"i%d\tu%d" % (self.random.integers(20), self.random.integers(50))
            self.rows[keys[-1]] = self._place(self.topic, int(self.random.integers(self.row_partitions)), begin + n * apart_secs)
            rows.append((message, keys[-1] if key else None, self.rows[keys[-1]]))
        if outcome_every:
            self.add_outcomes(keys[::outcome_every])
        for row in rows:
            self._send(self.topic, *row)
        self._producer.flush(60)
        return keys

    def add_outcomes(self, keys, most_secs: float = 20.0, value: bytes = b"1") -> None:
        """Appends an outcome of each row, so long after it at most; in the order of time."""
        keys = list(keys)
        secs = self.random.uniform(0, most_secs, len(keys))
        for at, key in sorted((self.rows[key][2] / 1000 + s, key) for key, s in zip(keys, secs, strict=True)):
            partition = int(self.random.integers(self.label_partitions))
            self.outcomes.append((key, *self._produce(self.label_topic, value, key, partition, at)))
        self._producer.flush(60)

    def add_outcome_of_nobody(self, secs_ago: float = 0.0) -> None:
        """To each partition, of that age."""
        for partition in range(self.label_partitions):
            self._produce(self.label_topic, b"1", b"nobody", partition, time.time() - secs_ago)
        self._producer.flush(60)

    def fill(self, number: int = 600, share: float = 0.3) -> "TwoTopics":
        """Rows from an hour ago on, and the outcomes of some of them."""
        keys = self.add_rows(number)
        self.add_outcomes(key for key in keys if self.random.random() < share)
        return self

    @property
    def labels(self) -> dict[tuple[int, int], int]:
        """Of each row, by its place: whether an outcome of its key is in time."""
        came = collections.defaultdict(list)
        for key, _, _, ms in self.outcomes:
            came[key].append(ms)
        return {(p, o): int(any(0 <= at - ms <= 1000 * WAIT_SECS for at in came[key])) for key, (p, o, ms) in self.rows.items()}

    def flags(self, name: str = "model", **more) -> dict:
        """Flags of a run by both topics; `name` of its model folder."""
        (self.folder / "columns.yaml").write_text(CLICKS_YAML)
        return {
            "bootstrap_servers": self.bootstrap, "topic": self.topic, "label_topic": self.label_topic,
            "columns": f"{self.folder}/columns.yaml", "model_dir": f"{self.folder}/{name}", **FLAGS, **more,
        }  # fmt: skip

    def train(self, name: str = "model", stop=None, **more) -> dict:
        """Runs the trainer in this process; returns its summary."""
        return run(of_flags(**self.flags(name, **more)), stop).summary

    def learned(self, name: str = "model") -> dict[tuple[int, int], int]:
        """The label that each row had at its first sight."""
        scored = np.fromfile(self.folder / name / "predictions.bin", PREDICTION)
        found = {(int(s["partition"]), int(s["offset"])): int(s["label"]) for s in scored}
        assert len(found) == len(scored)
        return found

    def late(self, name: str = "model") -> int:
        """How many rows were learned from once more, by the journal: those with an outcome in time that a window has read."""
        stop = read_journal(self.folder / name / "windows.jsonl")[-1].labels.stop
        read = [(key, ms) for key, partition, offset, ms in self.outcomes if offset < stop[partition]]
        return len({key for key, ms in read if 0 <= ms - self.rows[key][2] <= 1000 * WAIT_SECS})

    def add_partitions(self, row_partitions: int, label_partitions: int) -> None:
        """Has the topics so many partitions from here on."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        for name, had, wanted in (
            (self.topic, self.row_partitions, row_partitions),
            (self.label_topic, self.label_partitions, label_partitions),
        ):
            if wanted > had:
                admin.create_partitions([NewPartitions(name, wanted)])[name].result()
        self.row_partitions, self.label_partitions = row_partitions, label_partitions
        self._producer = Producer(self._settings)  # it knows the partitions of before

    def _produce(self, topic: str, value: bytes | None, key: bytes | None, partition: int, secs: float) -> tuple[int, int, int]:
        place = self._place(topic, partition, secs)
        self._send(topic, value, key, place)
        return place

    def _place(self, topic: str, partition: int, secs: float) -> tuple[int, int, int]:
        """Where the next message of a partition will stand: partition, offset, and time in milliseconds."""
        offset = self._offsets[topic, partition]
        self._offsets[topic, partition] += 1
        return partition, offset, round(1000 * secs)

    def _send(self, topic: str, value: bytes | None, key: bytes | None, place: tuple[int, int, int]) -> None:
        partition, _, ms = place
        self._producer.produce(topic, value, key, partition=partition, timestamp=ms)
        self._producer.poll(0)
