"""From a message to what the network gets."""

import dataclasses

from tfonline import flags
from tfonline.flags import flag, wrong


@dataclasses.dataclass(frozen=True)
class FeatureSettings:
    """Columns, dictionaries, the way of numbers, and what becomes of rows that are refused."""

    # fmt: off
    columns: str = flag("configs/criteo.yaml", "YAML file of the columns.")
    dictionary_dir: str = flag("dictionaries", "Folder of the three pickles that tools/process_data.py makes.")
    numeric: str = flag("bucket", "Integer columns as: minmax ((v - min) / (max - min), the replaced system's), "
                        "log (logarithm, scaled to [-1, 1]) or bucket (a category a logarithmic bucket).",
                        choices=("minmax", "log", "bucket"))
    oov_buckets: int = flag(0, "Category values that the dictionaries do not hold share so many ids, by their hash. "
                            "0: one id a column.", lower=0)
    cross_buckets: int = flag(0, "Feed the deep side with the past of pairs of columns: the share of clicks of "
                              "each pair of values, hashed to so many. 0: no pairs.", lower=0)
    cross_fields: int = flag(64, "With --cross_buckets: so many columns have pairs at most, categories first, then the others in "
                             "the order of the features. 64 have 2,016 pairs, 300 would have 44,850.", lower=2)
    cross_partners: int = flag(0, "With --cross_buckets: each of these columns has pairs with so many others, an even number: half "
                               "of them before it and half behind it, the first column being behind the last. 0: with all.",
                               lower=0)
    cross_pairs: str = flag("", "With --cross_buckets: pairs of columns that there are besides, as `C1*C2,C3*C7`. A column's "
                           "mean lift over these is a number of its own. tools/pairs.py chooses them.")
    keep_negatives: float = flag(1.0, "Learn from this share of the rows without a click, chosen by their offsets, and from all "
                                 "with one. Scores stay those of the whole stream, and metrics, the gate and histories count a "
                                 "kept negative for those that it stands for. Not with --cluster.", lower=0)
    max_rejected_ratio: float = flag(0.1, "End with exit code 65 when more than this share of the last 10,000 "
                                     "rows was rejected. 1: never.", lower=0)
    dead_letter_topic: str = flag("", "Topic that gets each refused row as it came, with key, headers and timestamp, "
                                  "before a checkpoint passes over it; headers tfonline.* say why and from where. Empty: none.")
    rejected_max_bytes: int = flag(100_000_000, "Size at which rejected.jsonl is full; rows are still counted.",
                                   lower=0)
    # fmt: on

    def __post_init__(self) -> None:
        flags.check(self)
        if self.cross_partners % 2:
            raise wrong(
                f"--cross_partners={self.cross_partners} is odd. Expected an even number: as many on either side of a column."
            )
        if self.cross_pairs and not self.cross_buckets:
            raise wrong("--cross_pairs goes with --cross_buckets, in which pairs are counted. Expected both, or neither.")
        for text, pair in zip(self.cross_pairs.split(","), self.chosen_pairs, strict=False):
            if len(pair) != 2 or not all(pair) or pair[0] == pair[1]:
                raise wrong(f"--cross_pairs has {text!r}. Expected two columns with a * between them, as in C1*C2,C3*C7.")
        if not 0 < self.keep_negatives <= 1:
            raise wrong(f"--keep_negatives={self.keep_negatives:g} is no share to learn from. Expected above 0, and 1 at most.")
        if not self.max_rejected_ratio <= 1:
            raise wrong(f"--max_rejected_ratio={self.max_rejected_ratio} is no share. Expected 0 to 1.")

    @property
    def chosen_pairs(self) -> tuple[tuple[str, str], ...]:
        """The columns of each of --cross_pairs."""
        return tuple(tuple(map(str.strip, pair.split("*"))) for pair in self.cross_pairs.split(",")) if self.cross_pairs else ()
