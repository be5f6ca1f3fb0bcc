"""Where the chaos takes place: a folder, a broker, and topics that are fed one and the same rows."""

import pathlib
import sys
import time

from benchmarks.chaos.trainer import ROOT, HarnessFailed

sys.path.insert(0, str(ROOT / "tools"))

import broker
import process_data
import synthetic
import topic as topic_tool
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions
from kafka_cli import Connection

from benchmarks.chaos.stream import Feeder, preload

_PARTITIONS = 3


class Stage:
    """A broker of its own.

    Args:
      folder: for all files.
      rows_per_sec: what each feeder produces.

    Attributes:
      folder: as given.
      bootstrap: the broker.

    Raises:
      UserError: no broker can be started.
    """

    def __init__(self, folder: pathlib.Path, rows_per_sec: int):
        self.folder, self._rows_per_sec = folder, rows_per_sec
        self._began = time.monotonic()
        self.bootstrap = broker.start(folder / "kafka").bootstrap

    def say(self, text: str) -> None:
        """A line of progress."""
        secs = int(time.monotonic() - self._began)
        print(f"chaos: {secs // 60:02}:{secs % 60:02} {text}", flush=True)

    def topic(self, name: str, partitions: int) -> None:
        """A new topic."""
        topic_tool.create(Connection(self.bootstrap, {}), name, partitions, 1)

    def dictionaries(self) -> pathlib.Path:
        """The folder of dictionaries, made of synthetic rows."""
        rows, folder = self.folder / "rows.tsv", self.folder / "dictionaries"
        rows.write_bytes(b"".join(line + b"\n" for block in synthetic.rows(20_000, 1) for line in block.lines))
        process_data.run(process_data.parse_args([str(rows), f"--output_dir={folder}"]))
        return folder

    def feed(self, topic: str) -> Feeder:
        """A new topic with its first rows, and a feeder that goes on. The rows are the same in each topic."""
        self.topic(topic, _PARTITIONS)
        preload(self.bootstrap, topic, _PARTITIONS, 6000, seed=2)
        return Feeder(self.bootstrap, topic, _PARTITIONS, self._rows_per_sec, seed=3)

    def add_partition(self, topic: str) -> None:
        """The feeder goes on with the old ones; the new one gets some rows at once."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        admin.create_partitions([NewPartitions(topic, _PARTITIONS + 1)])[topic].result(30)
        producer = Producer({"bootstrap.servers": self.bootstrap})
        for line in (line for block in synthetic.rows(3000, seed=5) for line in block.lines):
            producer.produce(topic, line, partition=_PARTITIONS)
        producer.flush()

    def take_broker(self, gently: bool) -> None:
        """The broker is stopped, or killed."""
        broker.stop(self.folder / "kafka") if gently else broker.kill(self.folder / "kafka")

    def return_broker(self) -> None:
        """The broker runs again, with all that it had.

        Raises:
          HarnessFailed: it has another address.
        """
        bootstrap = broker.start(self.folder / "kafka").bootstrap
        if bootstrap != self.bootstrap:
            raise HarnessFailed(f"the broker came back at {bootstrap}: somebody took its port, {self.bootstrap}")

    def close(self) -> None:
        """Ends the broker."""
        broker.kill(self.folder / "kafka")
