"""What the model is, and how it learns."""

import dataclasses
import re

from tfonline import flags
from tfonline.flags import flag, wrong

# By which tables, and what else a network has, may learn; in this order they do.
OPTIMIZERS = ("ftrl", "adam", "adagrad", "rowwise_adagrad")


@dataclasses.dataclass(frozen=True)
class ModelSettings:
    """The network: what its function `make` is given. A network takes of it what it has a use for."""

    # fmt: off
    network: str = flag("wide_deep", "The network above the tables: wide_deep, dcn_v2 (Wang et al., WWW 2021), deepfm (Guo et al., "
                        "IJCAI 2017), din (Zhou et al., KDD 2018; lists), esmm (Ma et al., SIGIR 2018; labels click and "
                        "conversion), or a function of yours as package.module:make; see docs/models.md.")
    table_optimizers: str = flag("", "By which optimizers tables learn, where by others than the network says, such as "
                                 "embedding:rowwise_adagrad,wide:adagrad. Optimizers: ftrl, adam, adagrad, rowwise_adagrad.")
    dcn_layers: int = flag(2, "Cross layers of --network=dcn_v2.", lower=1)
    dcn_rank: int = flag(0, "Rank of their matrices. 0: full matrices.", lower=0)
    din_units: int = flag(32, "Width of the layer by which --network=din weighs the values of a list.", lower=1)
    vocab_size: int = flag(0, "Rows of the embedding tables. 0: as many as the dictionaries and the numerics need.",
                           lower=0)
    embedding_dim: int = flag(16, "Width of an embedding.", lower=1)
    deep_layers: str = flag("256,128", "Widths of the dense layers before the last, comma separated.")
    history: bool = flag(False, "Feed the deep side with each id's past: its share of clicks and its number of rows.")
    average_rows: int = flag(0, "Score by the dense layers' moving average over so many rows. 0: by the newest weights.",
                             lower=0)
    replay: int = flag(0, "For each row, have the dense layers learn once more from so many of the last --replay_rows, as these "
                       "were then: in the same step. For --network=wide_deep on one replica. 0: from none.", lower=0)
    replay_rows: int = flag(20_000, "Rows that --replay keeps, in memory and in checkpoints: 2 bytes for each number that the "
                            "dense layers get. At least --batch_size.", lower=1)
    precision: str = flag("float32", "Of the dense layers' products, and of the gradients that GPUs exchange in "
                          "compiled steps. bfloat16 is faster where the machine has instructions for it (avx512_bf16, amx_bf16, "
                          "GPUs), and slower elsewhere; weights stay float32.",
                          choices=("float32", "bfloat16"))
    late_labels: str = flag("wait", "With --label_topic, what is learned before a label is settled. wait: nothing, a row is "
                            "learned from after --label_wait_secs, once. fnw, fnc: each row at once as a negative, and once more "
                            "when its outcome comes, with weights, or by the share of positives in such a stream (Ktena et al., "
                            "RecSys 2019). es_dfm: after --label_elapsed_secs, and once more when its outcome comes later "
                            "(Yang et al., AAAI 2021). docs/late-labels.md.",
                            choices=("wait", "fnw", "fnc", "es_dfm"))
    dense_init: str = flag("glorot", "Initialiser of the dense layers: glorot (uniform) or normal (--init_stddev).",
                           choices=("glorot", "normal"))
    init_stddev: float = flag(0.01, "Standard deviation of the initial embeddings and wide weights.", lower=0)
    seed: int = flag(1, "Seed of the initial weights.", lower=0)
    # fmt: on

    def __post_init__(self) -> None:
        flags.check(self)
        widths = self.deep_layers.split(",")
        if not all(w.strip().isdecimal() and int(w) > 0 for w in widths):
            raise wrong(f"--deep_layers={self.deep_layers} is no list of widths. Expected one such as 256,128.")
        for part in filter(None, self.table_optimizers.split(",")):
            if part.partition(":")[2] not in OPTIMIZERS:
                expected = f"a table's name, a colon and one of {', '.join(OPTIMIZERS)}, such as embedding:adagrad"
                raise wrong(f"--table_optimizers={self.table_optimizers}: {part!r} is wrong. Expected {expected}.")

    @property
    def layers(self) -> tuple[int, ...]:
        """`deep_layers` as numbers."""
        return tuple(int(n) for n in self.deep_layers.split(","))

    @property
    def optimizer_of(self) -> dict[str, str]:
        """`table_optimizers` by the table's name."""
        return dict(part.split(":") for part in self.table_optimizers.split(",") if part)


@dataclasses.dataclass(frozen=True)
class OptimizerSettings:
    """FTRL's settings (`wide_*`), Adam's and Adagrad's."""

    # fmt: off
    wide_learning_rate: float = flag(0.05, "FTRL's learning rate for the wide side.", lower=1e-12)
    wide_l1: float = flag(1e-8, "FTRL's l1.", lower=0)
    wide_l2: float = flag(1e-8, "FTRL's l2.", lower=0)
    wide_initial_accumulator: float = flag(1.0, "FTRL's initial accumulator.", lower=1e-12)
    wide_reduction: str = flag("sum", "The wide side's loss over a batch: sum (a rate tuned on single examples "
                               "fits) or mean (the replaced system's).", choices=("sum", "mean"))
    deep_learning_rate: float = flag(1e-3, "Adam's learning rate for the deep side.", lower=1e-12)
    adagrad_learning_rate: float = flag(0.01, "Learning rate of Adagrad and row-wise Adagrad (--table_optimizers).", lower=1e-12)
    adagrad_initial_accumulator: float = flag(0.0, "Their initial accumulator.", lower=0)
    l2: float = flag(0.0, "l2 of the embeddings; acts on the rows that a batch touches.", lower=0)
    label_weights: str = flag("", "Of several labels, how much the loss of each counts, such as click:1,conversion:0.5. "
                              "What is not named counts 1.")
    # fmt: on

    def __post_init__(self) -> None:
        flags.check(self)
        for part in filter(None, self.label_weights.split(",")):
            if not re.fullmatch(r"\w+:\d+(\.\d+)?", part):
                raise wrong(
                    f"--label_weights={self.label_weights}: {part!r} is wrong. Expected a label's name, a colon and a number, "
                    "such as conversion:0.5."
                )

    @property
    def weight_of_label(self) -> dict[str, float]:
        """`label_weights` by the label's name."""
        parts = (part.split(":") for part in self.label_weights.split(",") if part)
        return {label: float(weight) for label, weight in parts}

    @property
    def units(self) -> dict[str, float]:
        """The settings that the units of FTRL's slots hang on, by flag."""
        return {
            "wide_learning_rate": self.wide_learning_rate,
            "wide_l1": self.wide_l1,
            "wide_l2": self.wide_l2,
            "wide_initial_accumulator": self.wide_initial_accumulator,
        }

    def is_sum(self, kind: str) -> bool:
        """Whether an optimizer of this kind learns from the sum of a batch's losses, and not from their mean."""
        return kind == "ftrl" and self.wide_reduction == "sum"
