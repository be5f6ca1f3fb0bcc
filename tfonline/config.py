"""Every flag of the trainer, the frozen Config made of them, and all checks across flags. Imports no TensorFlow.

`python -m tfonline.train --help` and the parser are made from Config's fields, see flags.
"""

import dataclasses
import datetime
import functools
from typing import Any

from tfonline import flags
from tfonline.flags import flag, wrong
from tfonline.formats import FORMATS
from tfonline.lifecycle import Exit
from tfonline.stream import properties


@dataclasses.dataclass(frozen=True)
class Config:
    """The resolved flags of a run. Units stand in the names: `*_rows`, `*_secs`, `*_bytes`."""

    # fmt: off
    bootstrap_servers: str = flag("localhost:9092", "Stream", "Kafka brokers, host:port[,host:port].")
    topic: str = flag("python_test1", "Stream", "Kafka topic that holds the rows.")
    message_format: str = flag("tsv", "Stream", "How a message holds a row: tsv, or a JSON list of the values.",
                               choices=tuple(FORMATS))
    input_files: str = flag("", "Stream", "Train from these TSV files (comma separated, globs, .gz) and not from Kafka; "
                            "each file is a partition. New files may come between two runs.")
    kafka_property: tuple[str, ...] = flag((), "Stream", "A librdkafka property, key=value. May be repeated. Secrets belong "
                                           "in --kafka_properties_file.")
    kafka_properties_file: str = flag("", "Stream", "File of librdkafka properties, one key=value a line, # comments. Its "
                                      "values are never printed or written.")
    reader: str = flag("auto", "Stream", "What reads the rows of a topic: tfio, tensorflow-io's op; consumer, a confluent-kafka "
                       "consumer; auto, tfio where it is installed and can read this topic, else consumer. Both give the same rows "
                       "in the same order, and either may go on where the other has ended.",
                       choices=("auto", "tfio", "consumer"))
    group: str = flag("tfonline", "Stream", "Consumer group under which offsets are committed after each checkpoint, for lag "
                       "tools only: they are never read back.")
    broker_timeout_secs: float = flag(30.0, "Stream", "How long the broker may be out of reach before the run ends with exit "
                                      "code 69.", lower=0.1)

    start: str = flag("earliest", "Windows", "Where a new model starts: earliest, latest, timestamp:<RFC 3339>, "
                       "committed:<group> or offsets:<JSON file, partition to offset>.")
    stop_at: str = flag("never", "Windows", "Where the run ends: never (a resident service), latest (the end offsets seen at "
                        "the start) or timestamp:<RFC 3339>.")
    window_rows: int = flag(10_000, "Windows", "A window is planned when this many rows are there, over all partitions.",
                            lower=1)
    window_secs: float = flag(5.0, "Windows", "... or when this many seconds have passed since the last plan and a row is "
                              "there.", lower=0.01)
    max_idle_secs: float = flag(0.0, "Windows", "End when no row came for this long. 0: never.", lower=0)
    max_lag_rows: int = flag(0, "Windows", "Rows of lag above which --lag_policy decides. 0: any lag is worked through.",
                             lower=0)
    lag_policy: str = flag("work", "Windows", "Above --max_lag_rows: work through it, or skip ahead (journalled, counted and "
                           "said).", choices=("work", "skip"))
    on_lost_rows: str = flag("fail", "Windows", "Where retention has removed rows that were to be trained next: fail (exit code "
                             "66, saying which), or skip behind them (journalled, counted and said).",
                             choices=("fail", "skip"))
    skip_window: int = flag(-1, "Windows", "Pass over this window, once and journalled: one whose rows break the model. -1: none.",
                            lower=-1)
    replay_journal: str = flag("", "Windows", "Train the windows of this journal (windows.jsonl of another run) and end.")

    columns: str = flag("configs/criteo.yaml", "Features", "YAML file of the columns.")
    dictionary_dir: str = flag("dictionaries", "Features", "Folder of the three pickles that tools/process_data.py makes.")
    numeric: str = flag("bucket", "Features", "Integer columns as: minmax ((v - min) / (max - min), the replaced system's), "
                        "log (logarithm, scaled to [-1, 1]) or bucket (a category a logarithmic bucket).",
                        choices=("minmax", "log", "bucket"))
    oov_buckets: int = flag(0, "Features", "Category values that the dictionaries do not hold share so many ids, by their hash. "
                            "0: one id a column.", lower=0)
    cross_buckets: int = flag(0, "Features", "Feed the deep side with the past of all pairs of columns: the share of clicks of "
                              "each pair of values, hashed to so many. 0: no pairs.", lower=0)
    max_rejected_ratio: float = flag(0.1, "Features", "End with exit code 65 when more than this share of the last 10,000 "
                                     "rows was rejected. 1: never.", lower=0)
    dead_letter_topic: str = flag("", "Features", "Topic that gets each refused row as it came, with key, headers and timestamp, "
                                  "and headers that say why and from where, before a checkpoint passes over it. Empty: none.")
    rejected_max_bytes: int = flag(100_000_000, "Features", "Size at which rejected.jsonl is full; rows are still counted.",
                                   lower=0)

    network: str = flag("wide_deep", "Model", "The network above the tables: wide_deep, or a function of yours as "
                        "package.module:make; see tfonline/model/networks/__init__.py.")
    vocab_size: int = flag(0, "Model", "Rows of the embedding tables. 0: as many as the dictionaries and the numerics need.",
                           lower=0)
    embedding_dim: int = flag(16, "Model", "Width of an embedding.", lower=1)
    deep_layers: str = flag("256,128", "Model", "Widths of the dense layers before the last, comma separated.")
    history: bool = flag(False, "Model", "Feed the deep side with each id's past: its share of clicks and its number of rows.")
    average_rows: int = flag(0, "Model", "Score by the dense layers' moving average over so many rows. 0: by the newest weights.",
                             lower=0)
    precision: str = flag("float32", "Model", "Of the dense layers' products, and of the gradients that GPUs exchange in "
                          "compiled steps. bfloat16 is faster where the machine has instructions for it (avx512_bf16, amx_bf16, "
                          "GPUs), and slower elsewhere; weights stay float32.",
                          choices=("float32", "bfloat16"))
    dense_init: str = flag("glorot", "Model", "Initialiser of the dense layers: glorot (uniform) or normal (--init_stddev).",
                           choices=("glorot", "normal"))
    init_stddev: float = flag(0.01, "Model", "Standard deviation of the initial embeddings and wide weights.", lower=0)
    seed: int = flag(1, "Model", "Seed of the initial weights.", lower=0)

    batch_size: int = flag(1000, "Learning", "Rows a step, over all replicas.", lower=1)
    steps_per_call: int = flag(1, "Learning", "Steps that TensorFlow takes in one call, one after the other, as far as the window "
                               "has rows. More is faster with small batches, above all on a GPU; it changes no step.", lower=1)
    jit_compile: bool = flag(False, "Learning", "Have XLA compile the train step: a GPU then waits for few kernels where "
                             "TensorFlow launches hundreds. Calls that a window's end leaves short are compiled, too, on a GPU. "
                             "Not with --cluster.")
    wide_learning_rate: float = flag(0.05, "Learning", "FTRL's learning rate for the wide side.", lower=1e-12)
    wide_l1: float = flag(1e-8, "Learning", "FTRL's l1.", lower=0)
    wide_l2: float = flag(1e-8, "Learning", "FTRL's l2.", lower=0)
    wide_initial_accumulator: float = flag(1.0, "Learning", "FTRL's initial accumulator.", lower=1e-12)
    wide_reduction: str = flag("sum", "Learning", "The wide side's loss over a batch: sum (a rate tuned on single examples "
                               "fits) or mean (the replaced system's).", choices=("sum", "mean"))
    deep_learning_rate: float = flag(1e-3, "Learning", "Adam's learning rate for the deep side.", lower=1e-12)
    l2: float = flag(0.0, "Learning", "l2 of the embeddings; acts on the rows that a batch touches.", lower=0)
    num_replicas: int = flag(1, "Learning", "Replicas of the model under MirroredStrategy; --batch_size is divided over them.",
                             lower=1)
    devices: str = flag("auto", "Learning", "auto (GPUs if there are enough, else CPU), gpu or cpu.",
                        choices=("auto", "gpu", "cpu"))

    cluster: str = flag("none", "Workers", "Train by several processes, which share --model_dir and of which each reads the "
                        "partitions p with p mod workers = its index: none; tf_config, by TF_CONFIG; mpi, by Open MPI's mpirun; "
                        "slurm, by srun; hosts, by --workers. --batch_size is over all of them.",
                        choices=("none", "tf_config", "mpi", "slurm", "hosts"))
    workers: str = flag("", "Workers", "With --cluster=hosts: host:port of each worker, comma separated, the chief first.")
    worker_index: int = flag(0, "Workers", "With --cluster=hosts: which of them this process is.", lower=0)
    worker_timeout_secs: float = flag(120.0, "Workers", "A worker ends with exit code 75 when it has waited for the others for so "
                                      "long; longer than a checkpoint takes that is not saved in the background.", lower=1)
    partition_groups: int = flag(1, "Workers", "In one process: fill each batch in equal parts from so many groups of partitions, "
                                 "as so many workers do.", lower=1)

    model_dir: str = flag("runs/model", "Keeping", "Folder of checkpoints, journal, logs and summary. The same command resumes "
                          "from it.")
    new_model: bool = flag(False, "Keeping", "Begin a new model where --model_dir holds what another has left and no checkpoint "
                           "that can be read; that is moved into a folder before-<time> there. A checkpoint that can be read is "
                           "resumed from all the same.")
    checkpoint_every_steps: int = flag(0, "Keeping", "Save at the window's end that follows this many steps. 0: by time.",
                                       lower=0)
    checkpoint_secs: float = flag(60.0, "Keeping", "Save at the window's end that follows this many seconds. 0: by steps only.",
                                  lower=0)
    background_save: bool = flag(True, "Keeping", "Write checkpoints from a copy in memory while training goes on; the copy is as "
                                 "large as the checkpoint. Without it, training waits for the disk.")
    keep_checkpoints: int = flag(5, "Keeping", "How many checkpoints to keep; the newest is safe once it is on disk, so at "
                                 "least 2.", lower=2)
    drain_secs: float = flag(20.0, "Keeping", "A run ends this long after SIGTERM or Ctrl-C at the latest. A window that cannot "
                             "end in four fifths of it is dropped unsaved and read again by the next run.", lower=0)

    export_dir: str = flag("", "Serving", "Folder in which models are published for serving, as SavedModels under rising numbers. "
                           "Empty: nothing is published.")
    export_every_secs: float = flag(300.0, "Serving", "Publish the checkpoint that follows this many seconds. 0: by windows only.",
                                    lower=0)
    export_every_windows: int = flag(0, "Serving", "Publish the checkpoint that follows this many windows. 0: by time.", lower=0)
    keep_exports: int = flag(5, "Serving", "How many published versions to keep, and with them their checkpoints.", lower=2)
    gate_rows: int = flag(50_000, "Serving", "A model is judged by its scores of so many last rows, each scored before it was "
                          "learned from.", lower=1)
    gate_max_regression: float = flag(0.002, "Serving", "It is not published where its log loss is above the published "
                                      "version's on the same rows by more than this.", lower=0)
    gate_min_auc: float = flag(0.55, "Serving", "... nor where its AUC is not above this. 0: any.", lower=0)
    gate_calibration: float = flag(0.1, "Serving", "... nor where mean prediction / mean label is further from 1. 0: any.",
                                   lower=0)
    replace_foreign: bool = flag(False, "Serving", "Publish also over a version that cannot be scored on the same rows: one for "
                                 "other columns, or a damaged one. Without it, nothing is published over such a version.")

    metric_rows: int = flag(100_000, "Reporting", "The running metrics forget with this many rows (exponential decay).",
                            lower=1)
    report_secs: float = flag(10.0, "Reporting", "A console line and TensorBoard scalars at most this often.", lower=0)
    loss_log_every_steps: int = flag(100, "Reporting", "Every how many steps loss.log gets a line. 0: never.", lower=0)
    save_predictions: bool = flag(False, "Reporting", "Write partition, offset, label and logit of each trained row to "
                                  "predictions.bin, as scored before it was learned from.")
    dry_run: bool = flag(False, "Reporting", "Check flags, files, broker, topic, first rows, memory, disk and checkpoint, "
                         "print what a run would start from, and train nothing.")
    # fmt: on

    def __post_init__(self) -> None:
        _check(self)

    @property
    def layers(self) -> tuple[int, ...]:
        """`deep_layers` as numbers."""
        return tuple(int(n) for n in self.deep_layers.split(","))

    @functools.cached_property
    def read_properties(self) -> dict[str, str]:
        """See `kafka_properties`. Read once, and no field: whatever shows a Config shows its fields, and these may be secret."""
        found = properties.read_properties(self.kafka_properties_file, self.kafka_property)
        properties.refuse_what_the_trainer_cannot_take(found)
        return properties.as_dict(found)

    def resolved(self) -> dict[str, Any]:
        """All flags as plain data, without secrets (only the name of the properties file): `<model_dir>/config.json`."""
        return dataclasses.asdict(self)


def _check(c: Config) -> None:
    """All that can be wrong with flags alone.

    Raises:
      UserError: with exit code 64 or, for a missing properties file, 66.
    """
    flags.check(c)
    if c.batch_size % c.num_replicas:
        low = c.batch_size // c.num_replicas * c.num_replicas
        multiples = " or ".join(str(n) for n in (low, low + c.num_replicas) if n)
        raise wrong(
            f"--batch_size={c.batch_size} does not divide over {c.num_replicas} replicas. "
            f"Use a multiple of {c.num_replicas}, such as {multiples}."
        )
    if (c.cluster != "none" or c.partition_groups > 1) and c.steps_per_call > 1:
        raise wrong(f"--steps_per_call={c.steps_per_call}: workers, and --partition_groups, take one step a call. Leave it out.")
    if c.cluster != "none" and c.jit_compile:
        raise wrong("--jit_compile is for one process: XLA cannot compile what workers exchange. Leave it out.")
    if c.cluster != "none" and c.partition_groups > 1:
        raise wrong("--partition_groups is for one process: each worker of a --cluster is a group. Leave it out.")
    if c.cluster != "hosts" and (c.workers or c.worker_index):
        raise wrong(f"--workers and --worker_index are for --cluster=hosts, not --cluster={c.cluster}. Leave them out.")
    if c.batch_size % c.partition_groups:
        raise wrong(
            f"--batch_size={c.batch_size} does not divide over --partition_groups={c.partition_groups}. Use a multiple of it."
        )
    widths = c.deep_layers.split(",")
    if not all(w.strip().isdecimal() and int(w) > 0 for w in widths):
        raise wrong(f"--deep_layers={c.deep_layers} is no list of widths. Expected one such as 256,128.")
    if not c.checkpoint_every_steps and not c.checkpoint_secs:
        raise wrong("--checkpoint_every_steps=0 and --checkpoint_secs=0: nothing would ever be saved. Set one of them.")
    if c.export_dir and not c.export_every_secs and not c.export_every_windows:
        raise wrong("--export_every_secs=0 and --export_every_windows=0: nothing would ever be published. Set one of them.")
    if c.lag_policy == "skip" and not c.max_lag_rows:
        raise wrong("--lag_policy=skip needs --max_lag_rows, the lag above which it skips.")
    if c.lag_policy == "skip" and c.max_lag_rows < c.window_rows:
        raise wrong(
            f"--max_lag_rows={c.max_lag_rows} is below --window_rows={c.window_rows}: rows that only wait for their window to fill "
            f"would be skipped. Use at least {c.window_rows}."
        )
    if not 0 <= c.max_rejected_ratio <= 1:
        raise wrong(f"--max_rejected_ratio={c.max_rejected_ratio} is no share. Expected 0 to 1.")
    if c.dead_letter_topic and (c.input_files or c.dead_letter_topic == c.topic):
        raise wrong(
            f"--dead_letter_topic={c.dead_letter_topic} needs a topic of its own beside --topic, on the same brokers; "
            "--input_files has none."
        )
    if c.replay_journal and (c.on_lost_rows == "skip" or c.skip_window >= 0):
        raise wrong("--replay_journal trains windows as they were: leave out --on_lost_rows=skip and --skip_window.")
    _check_position("start", c.start, ("earliest", "latest"), ("timestamp", "committed", "offsets"))
    _check_position("stop_at", c.stop_at, ("never", "latest"), ("timestamp",))
    if c.input_files and (c.start != "earliest" or c.stop_at.startswith("timestamp:")):
        raise wrong(
            f"--input_files has neither timestamps nor groups, but --start={c.start} --stop_at={c.stop_at}. "
            "Use --start=earliest and --stop_at=latest."
        )
    kafka_properties(c)


def _check_position(flag: str, value: str, words: tuple[str, ...], kinds: tuple[str, ...]) -> None:
    kind, colon, rest = value.partition(":")
    if value in words or (colon and rest and kind in kinds and (kind != "timestamp" or _is_timestamp(rest))):
        return
    forms = ", ".join([*words, *(f"{k}:..." for k in kinds)])
    hint = " Timestamps are RFC 3339 with a zone, such as 2024-05-01T00:00:00Z." if "timestamp" in kinds else ""
    raise wrong(f"--{flag}={value} is not understood. Expected one of {forms}.{hint}")


def _is_timestamp(text: str) -> bool:
    try:
        return datetime.datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def timestamp_ms(text: str) -> int:
    """RFC 3339 with a zone to milliseconds since 1970."""
    return round(datetime.datetime.fromisoformat(text).timestamp() * 1000)


def kafka_properties(c: Config) -> dict[str, str]:
    """The librdkafka properties of --kafka_properties_file and --kafka_property (which wins); the values may be secret.

    Raises:
      UserError: a line is not key=value, a property is the trainer's own, or a value cannot pass the reader.
    """
    return c.read_properties


def parse(argv: list[str]) -> Config | None:
    """Reads the trainer's flags, `--flagfile` included. None when help was asked for and has been printed.

    Raises:
      UserError: a flag is unknown or wrong (64), or a flag file is missing (66).
    """
    usage = [
        "python -m tfonline.train --flagfile=configs/criteo.flags --bootstrap_servers=host:9092 --topic=clicks "
        "--model_dir=runs/clicks",
        "",
        "Trains a Wide & Deep model on the rows of a Kafka topic as they come. The same command resumes.",
        "--flagfile=FILE reads flags from a file, one a line; later flags win. Exit codes: "
        + ", ".join(f"{code.value} {code.name.lower()}" for code in Exit)
        + ".",
    ]
    return flags.parse(Config, "python -m tfonline.train", "\n".join(usage), argv)
