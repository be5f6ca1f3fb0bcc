"""Looks at feeder, broker and trainer once a second while somebody waits for the trainer."""

import math
import os
import pathlib
import threading
import time
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaException, TopicPartition

from benchmarks.chaos.check import journal
from benchmarks.chaos.patience import Fault, Patience, Sample
from benchmarks.chaos.stream import Feeder
from benchmarks.chaos.trainer import Failed, HarnessFailed, Trainer

_EVERY_SECS = 1.0
_ASK_SECS = 2.0


class Watch:
    """Samples in a thread, so that whoever waits may look at the trainer's phase thousands of times a second.

    Args:
      bootstrap: the broker.
      topic: what is fed and trained.
      trainer: who is waited for.
      model_dir: whose journal says where it is.
      feeder: None where nothing is to be fed any more.
      due_rows: see Patience.
    """

    def __init__(
        self, bootstrap: str, topic: str, trainer: Trainer, model_dir: pathlib.Path, feeder: Feeder | None, due_rows: int = 1
    ):
        self._topic, self._trainer, self._model_dir, self._feeder = topic, trainer, model_dir, feeder
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "chaos-watch", "log_level": 0})
        self._due_rows, self._ended = due_rows, threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.begin()

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._consumer.close()

    def begin(self) -> None:
        """Another wait begins: nobody has stood still yet."""
        self._patience: Patience = Patience(self._due_rows)
        self._fault: Fault | None = None

    def wait_until(self, done: Callable[[str, int, int], bool], what: str) -> None:
        """Returns once the trainer's `done(phase, window, step)`.

        Raises:
          Failed: the trainer ended, or stands still.
          HarnessFailed: the feeder or the broker does.
        """
        self.begin()
        self._trainer.wait_until(done, math.inf, what, self.check)

    def check(self) -> None:
        """Raises Failed where the trainer stands still, and HarnessFailed where it is the feeder or the broker."""
        if fault := self._fault:
            load = f"{fault.text}. The machine's load is {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
            raise (Failed if fault.who == "trainer" else HarnessFailed)(f"{load}\n{self._trainer.tail()}")

    def sample(self) -> Sample:
        """Feeder, broker and trainer as they are now."""
        ends, state = self._ends(), self._trainer.state()
        fed = {} if self._feeder is None else self._feeder.state()
        return Sample(time.monotonic(), ends, state, begin_of(self._model_dir, state[1]), **fed)

    def _run(self) -> None:
        while not self._ended.wait(_EVERY_SECS):
            patience = self._patience
            fault = patience.look(self.sample())
            if fault and patience is self._patience:  # else another wait has begun meanwhile
                self._fault = fault

    def _ends(self) -> tuple[int, ...]:
        try:
            partitions = self._consumer.list_topics(self._topic, timeout=_ASK_SECS).topics[self._topic].partitions
            places = [TopicPartition(self._topic, p) for p in sorted(partitions)]
            marks = [self._consumer.get_watermark_offsets(place, timeout=_ASK_SECS) for place in places]
        except KafkaException:
            return ()
        return () if None in marks else tuple(high for _, high in marks)  # None: not answered in time


def begin_of(model_dir: pathlib.Path, window: int) -> tuple[int, ...]:
    """The offsets at which a window begins, or the newest one in the journal where that is before; () without a journal."""
    try:
        windows = [w for w in journal(model_dir) if w["number"] <= window] or journal(model_dir)[-1:]
    except (OSError, ValueError):  # none yet, or a line that is just being written over
        return ()
    return tuple(windows[-1]["start"]) if windows else ()
