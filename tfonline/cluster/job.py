"""A worker's part in a job: it waits for the others, takes over the chief's model, and notices that one hangs."""

import json
import pathlib
import shutil
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfonline.cluster import plan
from tfonline.cluster.members import Cluster
from tfonline.cluster.rounds import Rounds
from tfonline.keep.checkpoint_contents import Contents
from tfonline.keep.checkpoints import Checkpoints, take_over
from tfonline.lifecycle import Exit, Stop, UserError
from tfonline.settings.learning import LearningSettings
from tfonline.state import Stateful
from tfonline.stream.journal import Journal
from tfonline.stream.planner import Planner

# Flags that need not be the same on all workers: addresses, and paths of a machine.
_OF_ONE_WORKER = {
    "worker_index", "workers", "kafka_properties_file", "dictionary_dir", "columns", "export_dir", "monitor_port", "monitor_host",
    "log_format",
}  # fmt: skip


class Job:
    """What a worker shares with the others.

    Args:
      flags: all, by name, only to be compared with the other workers'.
      learning: how steps are taken.
      model_dir: the model folder, which all workers share.
      timeout_secs: as --worker_timeout_secs.
      save_predictions: as in the flag.
      cluster: the workers.
      strategy: over all of them.
      local: asked to stop this worker.

    Attributes:
      cluster: as above.
      stop: set when all have agreed to stop.
      rounds: what they agree on.

    Raises:
      UserError: the batch does not divide over the workers and their replicas (exit 64).
    """

    def __init__(
        self,
        flags: Mapping[str, Any],
        learning: LearningSettings,
        model_dir: str,
        timeout_secs: float,
        save_predictions: bool,
        cluster: Cluster,
        strategy: tf.distribute.Strategy,
        local: Stop,
    ):
        parts = strategy.num_replicas_in_sync
        if learning.batch_size % parts:
            raise UserError(
                f"--batch_size={learning.batch_size} does not divide over {len(cluster.workers)} workers with --num_replicas="
                f"{learning.num_replicas} each. Use a multiple of {parts}.",
                Exit.FLAGS,
            )
        self.cluster, self.stop = cluster, Stop()
        self._flags, self._model_dir, self._timeout_secs = flags, model_dir, timeout_secs
        self.stop.saving, self.stop.activity, self.stop.fail = local.saving, local.activity, local.fail
        self.rounds = Rounds(strategy, cluster, local, self.stop, save_predictions)
        self._plan: Journal | None = None

    def announce(self, planner: Planner, files: list[dict[str, Any]]) -> Iterable:
        """On the chief: the planner's windows, which the others hear of, as they do of the list of files that are read."""
        self._plan = plan.begin(self._model_dir, files)
        return plan.announced(planner, self._plan)

    def begin(self, checkpoints: Checkpoints | None = None) -> str:
        """Waits for all workers; the name of the checkpoint that the chief, which gives its `checkpoints`, begins from.

        Raises:
          UserError: their flags differ (exit 64): each would learn something else.
        """
        number = int(checkpoints.latest.rpartition("-")[2]) if checkpoints else 0
        settings = {name: value for name, value in self._flags.items() if name not in _OF_ONE_WORKER}
        own = zlib.crc32(json.dumps(settings).encode())
        number, all_of_them = self.rounds.sum([number, own])
        if all_of_them != own * len(self.cluster.workers):
            raise UserError(f"the workers have different flags. Only {', '.join(sorted(_OF_ONE_WORKER))} may differ.", Exit.FLAGS)
        if self.cluster.chief:  # all have met: where they did is not for another job of the same name to find
            for met in (path for kind in ("mpi", "slurm") for path in pathlib.Path(self._model_dir, "cluster").glob(f"{kind}-*")):
                shutil.rmtree(met, ignore_errors=True)
        return f"ckpt-{number}"

    def join(self, parts: Sequence[Stateful]) -> Contents:
        """On the others: takes over the model from which the chief begins; returns what its checkpoint holds beside variables."""
        return take_over(f"{self._model_dir}/{self.begin()}", parts)

    def windows(self, number: int) -> plan.ChiefsWindows:
        """On the others: the windows that the chief plans, from this number on."""
        return plan.ChiefsWindows(self._model_dir, number, self.stop)

    def lengths(self, own: Mapping[str, int]) -> dict[str, int]:
        """The lengths of side files, with those of all workers' files of refused rows; waits for all.

        That all have come so far is known afterwards: no dead letter is still on its way.
        """
        index, n = self.cluster.index, len(self.cluster.workers)
        mine = own["rejected.jsonl" if self.cluster.chief else rejected_name(index)]
        rejected = self.rounds.sum([mine * (i == index) for i in range(n)])
        return {**own, **{rejected_name(i): rejected[i] for i in range(1, n)}}

    def files(self) -> list[dict[str, Any]]:
        """On the others: the chief's list of files, once the chief has begun."""
        return plan.files(self._model_dir)

    def watch(self, stuck: Callable[[float], None]) -> None:
        """Calls `stuck` with the seconds passed, from a thread, when no round has come for --worker_timeout_secs."""
        limit, self.rounds.moved = self._timeout_secs, time.monotonic()

        def look() -> None:
            while not self.rounds.over.wait(min(1.0, limit / 4)):
                if (secs := time.monotonic() - self.rounds.moved) > limit:
                    stuck(secs)
                    return

        threading.Thread(target=look, name="rounds", daemon=True).start()

    def close(self) -> None:
        """Ends the plan."""
        if self._plan:
            self._plan.close()


def rejected_name(index: int) -> str:
    """The file of the rows that another worker than the chief has refused."""
    return f"rejected.worker-{index}.jsonl"
