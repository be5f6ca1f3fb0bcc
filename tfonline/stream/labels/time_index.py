"""Which offsets of a topic a time has, and which times lie around offsets."""

import bisect
import itertools
from collections.abc import Callable, Sequence


class TimeIndex:
    """Remembers what the broker has said of times, and asks for what lies between them.

    The offset of a time is that of the first message which is not older, as Kafka has it.

    Args:
      at_time: of a time, milliseconds since 1970, the first offset of each partition whose message is not older; the partition's
        end where there is none. Partitions may become more.
    """

    def __init__(self, at_time: Callable[[int], Sequence[int]]):
        self._at_time = at_time
        self._times: list[int] = []  # rising
        self._offsets: list[list[int]] = []  # of each

    def offsets(self, ms: int) -> list[int]:
        """The offsets of a time, asked for now."""
        found = list(self._at_time(ms))
        self._widen(len(found))
        place = bisect.bisect_left(self._times, ms)
        if place < len(self._times) and self._times[place] == ms:
            self._offsets[place] = found
        else:
            self._times.insert(place, ms)
            self._offsets.insert(place, found)
        return found

    def before(self, offsets: Sequence[int], latest: int, within_ms: int) -> int:
        """The last time whose offsets are these or lower ones, `within_ms` too early at most: what stands behind is not older.

        That holds where the times of a partition's messages rise.
        """
        self._widen(len(offsets))
        return self._parted(lambda found: _all_least(found, offsets), latest, within_ms)[0]

    def behind(self, offsets: Sequence[int], latest: int, within_ms: int) -> int:
        """The first time whose offsets are these or higher ones, `within_ms` too late at most, and `latest` at most: what stands
        before them is older.
        """
        self._widen(len(offsets))
        return self._parted(lambda found: not _all_least(offsets, found), latest, within_ms)[1]

    def forget(self, ms: int) -> None:
        """Of the times before this one only the last is kept."""
        place = max(0, bisect.bisect_left(self._times, ms) - 1)
        del self._times[:place], self._offsets[:place]

    def _widen(self, num_partitions: int) -> None:
        """Forgets what was said of fewer partitions: those that the topic has got since may hold messages of any time."""
        if self._offsets and len(self._offsets[-1]) < num_partitions:
            self._times.clear()
            self._offsets.clear()

    def _parted(self, early: Callable[[Sequence[int]], bool], latest: int, within_ms: int) -> tuple[int, int]:
        """Two times, of which the first is early and the second is not, unless it is `latest`."""
        known = bisect.bisect_left(self._offsets, True, hi=bisect.bisect_right(self._times, latest), key=lambda o: not early(o))
        low = self._times[known - 1] if known else 0
        high = min(self._times[known], latest) if known < len(self._times) else latest
        while high - low > within_ms:
            middle = (low + high) // 2
            low, high = (middle, high) if early(self.offsets(middle)) else (low, middle)
        return low, high


def _all_least(offsets: Sequence[int], others: Sequence[int]) -> bool:
    """Whether no offset is above the other one of its partition; a partition that one of the two does not know is at 0."""
    return all(a <= b for a, b in itertools.zip_longest(offsets, others, fillvalue=0))
