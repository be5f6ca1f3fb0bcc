"""Where faults take place: a broker, a feed, a trainer, a server, its clients and Prometheus, all of this machine's 127.0.0.1."""

import contextlib
import json
import pathlib
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable

import broker
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from benchmarks.commands import free_port, tool
from benchmarks.ops.asking import Asking
from benchmarks.ops.feed import Feed
from benchmarks.ops.processes import Supervised
from benchmarks.ops.prometheus import Prometheus
from tfonline.publish.versions import Versions

_TOPIC, _PARTITIONS, _ROWS_PER_SEC = "clicks", 2, 800
VOCABULARY_ROWS = 1 << 18
# What takes a minute or an hour by default takes seconds here, as the alerts do; the model is small.
_TRAINER = {
    "topic": _TOPIC, "reader": "consumer", "columns": "configs/criteo.yaml", "numeric": "bucket", "batch_size": 100,
    "embedding_dim": 4, "deep_layers": "32", "vocabulary_rows": VOCABULARY_ROWS, "admit_after": 20, "admit_counters": 1 << 16,
    "oov_buckets": 1000, "window_rows": 500, "window_secs": 1, "checkpoint_secs": 3, "report_secs": 1, "metric_rows": 4000,
    "drift_rows": 2000, "export_every_secs": 5, "gate_rows": 4000, "gate_max_regression": 0.01, "broker_timeout_secs": 10,
    "on_lost_rows": "skip", "drain_secs": 5,
}  # fmt: skip
_START_SECS = 300.0


class Failed(Exception):
    """What was to come did not come."""


class Stage:
    """All that runs: `begin` starts it, `close` ends it.

    Args:
      folder: empty, for all files.

    Attributes:
      folder: as given; `models` and `model_dir` are in it.
      ports: of 127.0.0.1, by Prometheus' job.
      feed, trainer, server, prometheus: from `begin` on.
      versions_left: publications by which the trainer has gone back from versions that a fault made bad; None: there was none.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder, self._closing = folder, contextlib.ExitStack()
        self._began = time.monotonic()
        self.models, self.model_dir = folder / "models", folder / "model"
        self.versions_left: int | None = None
        self.ports = {"tfonline-trainer": free_port(), "tfonline-server": free_port()}

    def begin(self, age_secs: float, meanwhile: Callable[["Stage"], None]) -> None:
        """Starts all of it, Prometheus last.

        Args:
          age_secs: how old the rows are that the model learns from before Prometheus comes.
          meanwhile: called once a model of these rows is served; behind it, rows are of now.

        Raises:
          Failed: something does not come up.
          UserError: no broker can be started.
        """
        self.say("Apache Kafka, a topic, a trainer and a server")
        self._closing.callback(broker.kill, self.folder / "kafka")
        self.bootstrap = broker.start(self.folder / "kafka").bootstrap
        tool("topic.py", "create", f"--topic={_TOPIC}", f"--partitions={_PARTITIONS}", f"--bootstrap_servers={self.bootstrap}")
        self.feed = Feed(self.bootstrap, _TOPIC, _PARTITIONS, _ROWS_PER_SEC)
        self._closing.callback(self.feed.close)
        self.feed.age_secs = age_secs
        where = {"bootstrap_servers": self.bootstrap, "model_dir": self.model_dir, "export_dir": self.models}
        flags = _TRAINER | where | {"monitor_port": self.ports["tfonline-trainer"]}
        self.trainer = Supervised("tfonline.train", flags, self.folder / "trainer.log")
        self.server = Supervised(
            "tfonline.serve", {"export_dir": self.models, "port": self.ports["tfonline-server"]}, self.folder / "server.log"
        )
        for process in (self.trainer, self.server):
            self._closing.callback(process.stop)
            process.start()
        self.wait(self.serves, "a version is served")
        meanwhile(self)
        self.feed.age_secs = 0
        self.wait(lambda: self.metric("tfonline_trainer_newest_row_age_seconds", 99) < 3, "the trainer reads rows of now")
        asking = Asking(self.ports["tfonline-server"])
        self._closing.callback(asking.close)
        self.prometheus = Prometheus(self.folder / "prometheus", self.ports)
        self._closing.callback(self.prometheus.close)
        self.wait(self._all_seen, "Prometheus sees the trainer and the server")

    def _all_seen(self) -> bool:
        """Whether both are up, and it is forgotten that they were not there before the first look."""
        down = {"TfonlineTrainerDown", "TfonlineServerDown"}
        return self.prometheus.value("count(up == 1)") == len(self.ports) and not down & self.prometheus.raised()

    def close(self) -> None:
        """Ends all that was started, whatever state it is in."""
        self._closing.close()

    def say(self, text: str) -> None:
        """A line of progress."""
        secs = int(time.monotonic() - self._began)
        print(f"ops: {secs // 60:02}:{secs % 60:02} {text}", flush=True)

    def wait(self, done: Callable[[], bool], what: str, secs: float = _START_SECS) -> None:
        """Returns once `done()`.

        Raises:
          Failed: it does not come in time, or the feed has ended.
        """
        deadline = time.monotonic() + secs
        while not done():
            if self.feed.problem:
                raise Failed(f"the feed has ended: {self.feed.problem}")
            if time.monotonic() > deadline:
                raise Failed(f"{secs:g} s have passed, and not: {what}. Logs are in {self.folder}")
            time.sleep(0.2)

    def versions_gone_back_from(self, since: int) -> int:
        """How many versions behind that one are an older one again."""
        versions = Versions(self.models)
        return sum("rolled_back_to" in versions.manifest(number) for number in versions.numbers if number > since)

    def newest_version(self) -> int:
        """0: none."""
        return max(Versions(self.models).numbers, default=0)

    def serves(self) -> bool:
        """Whether the server has a version."""
        return _get(self.ports["tfonline-server"], "/healthz")[0] == 200

    def learns(self) -> bool:
        """Whether the trainer has learned from rows since it started."""
        ready = _get(self.ports["tfonline-trainer"], "/readyz")[0] == 200
        return ready and self.metric("tfonline_trainer_rows_total", 0) > 0

    def metric(self, name: str, otherwise: float) -> float:
        """A metric of the trainer without labels, as it says itself."""
        found = re.search(rf"^{name} (\S+)$", _get(self.ports["tfonline-trainer"], "/metrics")[1], re.MULTILINE)
        return float(found[1]) if found else otherwise

    def drift_of(self, column: str, rows: int) -> int | None:
        """Rows that the model had learned from when a column's episode began, the first after so many; None: none has."""
        lines = map(json.loads, (self.model_dir / "drift.jsonl").read_text().splitlines())
        return next((d["rows"] for d in lines if d["begins"] and d["about"] == column and d["rows"] > rows), None)

    def take_broker(self) -> None:
        """Kills it."""
        broker.kill(self.folder / "kafka")

    def return_broker(self) -> None:
        """Starts it again, with all that it had."""
        if broker.start(self.folder / "kafka").bootstrap != self.bootstrap:
            raise Failed(f"the broker came back elsewhere: somebody took its port, {self.bootstrap}")

    def delete_rows(self) -> None:
        """As retention does: no row that is in the topic now can be read any more."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        partitions = [TopicPartition(_TOPIC, p) for p in range(_PARTITIONS)]
        ends = admin.list_offsets(dict.fromkeys(partitions, OffsetSpec.latest()))
        stop = [TopicPartition(p.topic, p.partition, future.result(30).offset) for p, future in ends.items()]
        for future in admin.delete_records(stop).values():
            future.result(30)

    def resize_vocabulary(self, rows: int) -> None:
        """Stops the trainer, moves its model, and starts it again."""
        self.trainer.stop()
        tool("resize_vocabulary.py", self.model_dir, f"--rows={rows}")
        self.trainer.restart(vocabulary_rows=rows)


def _get(port: int, path: str) -> tuple[int, str]:
    """Status and text; 0 and '' where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()
    except OSError:
        return 0, ""
