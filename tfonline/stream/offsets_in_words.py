"""Offsets of all partitions in a line for people: a topic may have a thousand partitions. Imports no TensorFlow."""

from collections.abc import Sequence

# A topic of so many partitions at most is written out.
_MOST_WRITTEN_OUT = 8
_NUM_SHOWN = 2


def short(offsets: Sequence[int]) -> str:
    """Offsets, one a partition in the topic's order, for a line of the console or an error.

    Up to 8 partitions as Python prints them, `[12, 30]`. Of more only the first two and the sum, so that the line stays a line:
    `[0: 12, 1: 30, ... 998 more], 1,234,567 in all`.
    """
    if len(offsets) <= _MOST_WRITTEN_OUT:
        return str(list(offsets))
    shown = ", ".join(f"{partition}: {offset}" for partition, offset in enumerate(offsets[:_NUM_SHOWN]))
    return f"[{shown}, ... {len(offsets) - _NUM_SHOWN} more], {sum(offsets):,} in all"
