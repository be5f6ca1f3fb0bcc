"""The training loop of a worker: what all do together, and what only the chief does."""

import math
import pathlib
import time
from typing import Any

import tensorflow as tf

from tfonline.cluster.members import Cluster
from tfonline.cluster.rounds import Rounds
from tfonline.evaluate.progressive import Counts
from tfonline.features.batch import Element
from tfonline.lifecycle import Exit, UserError
from tfonline.loop import Loop, Parts
from tfonline.publish.publisher import Publisher
from tfonline.report.writers import Scalars
from tfonline.stream.windows import Window


class ClusterLoop(Loop):
    """As Loop, over the elements of `rounds`: each worker does the same at the same time.

    Args:
      parts: of this worker.
      cluster: the workers.
      rounds: what they agree on; told here what the chief's clock says.
    """

    in_step = True

    def __init__(self, parts: Parts, cluster: Cluster, rounds: Rounds):
        self._cluster, self._rounds = cluster, rounds
        super().__init__(parts)
        if parts.publisher:
            self._p.publisher = _OfChief(parts.publisher)
        # The step that is not counted yet is done when the round is.
        rounds.save_due = lambda: self._save_cadence.due(parts.position.step + (self._learned is not None))
        rounds.leave_due = lambda: parts.stop.requested() and time.monotonic() > Loop._drain(self)
        rounds.final = lambda: parts.planner.final
        rounds.failed = lambda: bool(parts.planner.error or parts.reader.error)

    def summarise(self, ended: str) -> dict[str, Any]:
        """The chief's is that of all workers."""
        if self._cluster.chief:
            return super().summarise(ended)
        self._p.console.say(ended)
        return {}

    @property
    def _side_files(self) -> dict[str, int | None]:
        if self._cluster.chief:
            return super()._side_files
        return {_rejected_name(self._cluster.index): self._p.config.rejected_max_bytes}

    def _left_behind(self, folder: pathlib.Path) -> list[pathlib.Path]:
        own = {_rejected_name(i) for i in range(1, len(self._cluster.workers))}
        return [path for path in super()._left_behind(folder) if path.name not in own] if self._cluster.chief else []

    def _lengths(self) -> dict[str, int]:
        """Of all workers' files. That all have come so far is known afterwards: no dead letter is still on its way."""
        own, n = super()._lengths(), len(self._cluster.workers)
        if not self._unsaved:  # the chief's first checkpoint, with which it begins before the others
            return own
        mine = own["rejected.jsonl" if self._cluster.chief else _rejected_name(self._cluster.index)]
        rejected = self._rounds.sum([mine * (i == self._cluster.index) for i in range(n)])
        return own | {_rejected_name(i): rejected[i] for i in range(1, n)}

    def _refused(self, element: Element) -> list[int]:
        return self._rounds.rejected

    def _save_due(self) -> bool:
        return self._rounds.save

    def _drain(self) -> float:
        return -math.inf if self._rounds.leave else math.inf

    def _report(self) -> None:
        if self._cluster.chief:
            super()._report()

    def _why_reading_failed(self, error: tf.errors.OpError) -> Exception:
        return self._gone(error) or super()._why_reading_failed(error)

    def _why_step_failed(self, error: tf.errors.OpError) -> Exception:
        return self._gone(error) or super()._why_step_failed(error)

    def _gone(self, error: tf.errors.OpError) -> Exception | None:
        """The error to end with where another worker is gone, or this one's rows have failed meanwhile."""
        known = self._p.planner.error or self._p.reader.error or self.rows_lost()
        if known or "ollective" not in error.message:
            return known or None
        # Why it is gone stands in its own log; here there is only how that was noticed.
        how = error.message.partition("Collective ops is aborted by: ")[2].splitlines()[:1]
        return UserError(f"another worker is gone, see its log ({''.join(how)})", Exit.TRY_AGAIN)

    def _not_finite(self, what: str, windows: list[Window]) -> UserError:
        if self._cluster.chief:
            return super()._not_finite(what, windows)
        return UserError(f"{what}: see the chief's log", Exit.NOT_FINITE)


class _OfChief:
    """A publisher that gets the chief's own rows of each batch: the first ones."""

    def __init__(self, publisher: Publisher):
        self._publisher = publisher

    def __getattr__(self, name: str) -> Any:
        return getattr(self._publisher, name)

    def observe(self, element: Element, good: Any, labels: Any, logits: Any) -> None:
        """See Publisher."""
        batch = element.batch
        rows = next(iter(batch.features.values())).shape[0]
        label, weight, valid = tf.nest.map_structure(lambda x: x[:rows], (batch.label, batch.weight, batch.valid))
        good = good[:rows]
        known = int(good.sum())
        if known:
            element = element._replace(batch=batch._replace(label=label, weight=weight, valid=valid))
            self._publisher.observe(element, good, labels[:known], logits[:known])


class FollowedCheckpoints:
    """What Checkpoints are on the chief, on the others: nothing is written or read here."""

    latest = "the chief's last checkpoint"
    oldest_window = 0

    def begin(self, _: Any) -> None:
        """The chief saves."""

    def finished(self, wait: bool = False) -> None:
        """Nothing has come to disk from here."""

    def restore(self) -> list[str]:
        """Only at a run's end, for its summary: the chief's matter."""
        return []

    def close(self) -> None:
        """Nothing is open."""


class Silent:
    """A writer that writes nothing."""

    def write(self, step: int, scalars: Scalars) -> None:
        """The chief reports."""

    def write_scores(self, step: int, counts: Counts) -> None:
        """The chief reports."""

    def close(self) -> None:
        """Nothing is open."""


def _rejected_name(index: int) -> str:
    return f"rejected.worker-{index}.jsonl"
