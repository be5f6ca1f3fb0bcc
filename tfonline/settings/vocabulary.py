"""Rows for values that come with the stream."""

import dataclasses

from tfonline import flags
from tfonline.flags import flag, wrong

# A set of places is found by at least one bit of a hash.
_LEAST_ROWS = 16


@dataclasses.dataclass(frozen=True)
class VocabularySettings:
    """Which values of the category columns get a row of the tables for themselves, where the stream says so and no dictionary."""

    # fmt: off
    vocabulary_rows: int = flag(0, "Rows of the tables for category values that come with the stream, a power of 2: no "
                                "dictionaries are needed. 0: the values in the dictionaries have rows, and no others.", lower=0)
    vocabulary_from: str = flag("stream", "What a new model's vocabulary begins with: nothing (stream), or the values in "
                                "--dictionary_dir (dictionaries).", choices=("stream", "dictionaries"))
    admit_after: int = flag(6, "A value gets a row when it is seen for the so-manieth time; until then it shares --oov_buckets.",
                            lower=1)
    expire_rows: int = flag(1_000_000, "A value that was not seen for so many rows of the stream may lose its row to one that is "
                            "seen more; what it was seen counts half after each such time.", lower=1)
    admit_counters: int = flag(1 << 22, "Counters of values without a row, a power of 2; 4 bytes each. Several values may share "
                               "one.", lower=1)
    # fmt: on

    def __post_init__(self) -> None:
        flags.check(self)
        rows, counters = self.vocabulary_rows, self.admit_counters
        if rows and (rows < _LEAST_ROWS or not _is_power_of_2(rows)):
            raise wrong(
                f"--vocabulary_rows={rows} is no power of 2 from {_LEAST_ROWS} on. Use {max(_LEAST_ROWS, 1 << rows.bit_length())}, "
                "or 0 for dictionaries."
            )
        if not _is_power_of_2(counters):
            raise wrong(f"--admit_counters={counters} is no power of 2. Use {1 << counters.bit_length()}.")
        if self.vocabulary_from != "stream" and not rows:
            raise wrong(f"--vocabulary_from={self.vocabulary_from} is for a vocabulary that grows. Set --vocabulary_rows, too.")


def _is_power_of_2(n: int) -> bool:
    return n & (n - 1) == 0
