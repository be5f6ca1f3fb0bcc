"""Preparing what comes next while what came before is worked on. Imports no TensorFlow."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


def ahead(items: Iterable[T], prepare: Callable[[T], U], threaded: bool) -> Iterator[tuple[T, U]]:
    """Each item with what `prepare` makes of it.

    Args:
      items: what is followed, in order.
      prepare: for instance, copies to a GPU.
      threaded: whether an item is fetched and prepared in a thread while the one before it is worked on, or when it is asked for.
        The thread may outlive this iterator by the wait for one item.

    Raises:
      whatever `items` or `prepare` raise, in their place among the items.
    """
    if not threaded:
        for item in items:
            yield item, prepare(item)
        return
    iterator = iter(items)

    def fetch() -> tuple[T, U] | None:
        for item in iterator:
            return item, prepare(item)
        return None

    thread = ThreadPoolExecutor(1, "ahead")
    try:
        following = thread.submit(fetch)
        while (found := following.result()) is not None:
            following = thread.submit(fetch)
            yield found
    finally:
        thread.shutdown(wait=False, cancel_futures=True)
