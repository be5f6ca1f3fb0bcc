"""Has checkpoints published, and what is published score the stream."""

from typing import TYPE_CHECKING

from tfonline.evaluate.progressive import product
from tfonline.events import Ended, Event, Rows, Saved, Saving, Seen, Tick, WindowEnd
from tfonline.lifecycle import Stop

if TYPE_CHECKING:
    from tfonline.features.batch import Element
    from tfonline.publish.publisher import Publisher


class Publish:
    """An action.

    Args:
      publisher: what does it.
      stop: after which nothing more is published.
    """

    def __init__(self, publisher: "Publisher", stop: Stop):
        self._publisher, self._stop = publisher, stop

    def __call__(self, event: Event, seen: Seen | None) -> None:
        """Raises nothing: a failure to publish never ends the training."""
        match event:
            case Rows(element=element) if seen:
                self._observe(element, seen)
            case WindowEnd() | Tick():
                self._publisher.between_windows()
            case Saving():
                self._publisher.saving()
            case Saved(path=path) if not self._stop.requested():
                self._publisher.saved(path)
            case Ended() if not self._stop.requested():
                self._publisher.finish()

    def _observe(self, element: "Element", seen: Seen) -> None:
        batch, places = element.batch, seen.places
        valid = places.ravel()
        own = next(iter(batch.features.values())).shape[0]
        if own < len(valid):  # of several workers, the chief has its own rows' features alone: the first ones
            label = {head: x[:own] for head, x in batch.label.items()}
            batch = batch._replace(label=label, weight=batch.weight[:own], valid=batch.valid[:own])
            element = element._replace(batch=batch)
        valid = valid[:own]
        if valid.any():
            # Of several workers these are the chief's rows, the first ones.
            scored = (*seen.of_all_labels(places), *seen.rows(places)[2:])
            logits, labels, *factors = (x if x is None else x[: valid.sum()] for x in scored)
            late = None if seen.late is None else seen.late[places]
            self._publisher.observe(element, valid, labels, logits, product(*factors), late)
