"""The settings of a run, room by room, and all checks across rooms. Imports no TensorFlow.

`python -m tfonline.train --help` and the parser are made from the fields of the rooms' dataclasses, see flags.
"""

import dataclasses
from typing import Any

from tfonline import flags
from tfonline.flags import wrong
from tfonline.lifecycle import Exit
from tfonline.settings.features import FeatureSettings
from tfonline.settings.keeping import KeepingSettings, ServingSettings
from tfonline.settings.labels import LabelSettings
from tfonline.settings.learning import LearningSettings, WorkerSettings
from tfonline.settings.model import ModelSettings, OptimizerSettings
from tfonline.settings.reporting import ReportingSettings
from tfonline.settings.stream import StreamSettings, WindowSettings
from tfonline.settings.vocabulary import VocabularySettings

_DRIFT_ROWS, _DRIFT_CALLS = 10_000, 10


@dataclasses.dataclass(frozen=True)
class Config:
    """The resolved flags of a run. A field's name is the heading of its flags in --help."""

    stream: StreamSettings = dataclasses.field(default_factory=StreamSettings)
    windows: WindowSettings = dataclasses.field(default_factory=WindowSettings)
    labels: LabelSettings = dataclasses.field(default_factory=LabelSettings)
    features: FeatureSettings = dataclasses.field(default_factory=FeatureSettings)
    vocabulary: VocabularySettings = dataclasses.field(default_factory=VocabularySettings)
    model: ModelSettings = dataclasses.field(default_factory=ModelSettings)
    learning: LearningSettings = dataclasses.field(default_factory=LearningSettings)
    optimizers: OptimizerSettings = dataclasses.field(default_factory=OptimizerSettings)
    workers: WorkerSettings = dataclasses.field(default_factory=WorkerSettings)
    keeping: KeepingSettings = dataclasses.field(default_factory=KeepingSettings)
    serving: ServingSettings = dataclasses.field(default_factory=ServingSettings)
    reporting: ReportingSettings = dataclasses.field(default_factory=ReportingSettings)

    def __post_init__(self) -> None:
        _check(self)

    @property
    def drift_rows(self) -> int:
        """Rows of a window that is looked at for drift; 0: nothing is.

        The sample of a window is of one size, and the training thread counts it. Who takes many rows a call takes them fast, so
        that windows are larger by themselves: else a GPU would wait for the counting half of its time.
        """
        rows = self.reporting.drift_rows
        return rows if rows >= 0 else max(_DRIFT_ROWS, _DRIFT_CALLS * self.learning.batch_size * self.learning.steps_per_call)

    def resolved(self) -> dict[str, Any]:
        """All flags by name as plain data, without secrets (only the name of the properties file): `<model_dir>/config.json`."""
        return {name: value for room in dataclasses.asdict(self).values() for name, value in room.items()}


def of_flags(**values: Any) -> Config:
    """The settings of some flags; of all others the defaults.

    Raises:
      UserError: a value is wrong (exit 64), or the file of Kafka properties is missing (66).
      TypeError: there is no such flag.
    """
    return flags.build(Config, values)


def _check(c: Config) -> None:
    """What can be wrong between rooms.

    Raises:
      UserError: with exit code 64 or, for a missing properties file, 66.
    """
    workers, learning, stream, windows = c.workers, c.learning, c.stream, c.windows
    if (workers.cluster != "none" or workers.partition_groups > 1) and learning.steps_per_call > 1:
        raise wrong(
            f"--steps_per_call={learning.steps_per_call}: workers, and --partition_groups, take one step a call. Leave it out."
        )
    if (workers.cluster != "none" or workers.partition_groups > 1) and c.features.keep_negatives < 1:
        raise wrong(
            f"--keep_negatives={c.features.keep_negatives:g}: workers, and --partition_groups, fill batches with rows as they "
            "come. Leave it out."
        )
    if workers.cluster != "none" and learning.jit_compile:
        raise wrong("--jit_compile is for one process: XLA cannot compile what workers exchange. Leave it out.")
    if learning.batch_size % workers.partition_groups:
        raise wrong(
            f"--batch_size={learning.batch_size} does not divide over --partition_groups={workers.partition_groups}. "
            "Use a multiple of it."
        )
    letters = c.features.dead_letter_topic
    if letters and (stream.input_files or letters == stream.topic):
        raise wrong(
            f"--dead_letter_topic={letters} needs a topic of its own beside --topic, on the same brokers; --input_files has none."
        )
    if stream.input_files and (windows.start != "earliest" or windows.stop_at.startswith("timestamp:")):
        raise wrong(
            f"--input_files has neither timestamps nor groups, but --start={windows.start} --stop_at={windows.stop_at}. "
            "Use --start=earliest and --stop_at=latest."
        )
    _check_replay(c)
    _check_labels(c)
    _check_vocabulary(c)
    # What is wrong with the files is said now, after all that is wrong with flags.
    _ = stream.registry_properties, stream.read_properties


def _check_replay(c: Config) -> None:
    m, replicas = c.model, c.learning.num_replicas
    if not m.replay:
        return
    if c.workers.cluster != "none" or replicas > 1:
        where = f"--num_replicas={replicas}" if c.workers.cluster == "none" else f"--cluster={c.workers.cluster}"
        raise wrong(
            f"--replay={m.replay} with {where}: a replica would remember its own rows alone. Use --replay=0, or one replica."
        )
    if m.late_labels != "wait":
        raise wrong(
            f"--replay={m.replay} learns from settled labels again, not with --late_labels={m.late_labels}. Use --replay=0."
        )
    if m.replay_rows < c.learning.batch_size:
        raise wrong(f"--replay_rows={m.replay_rows} is less than --batch_size={c.learning.batch_size}. Use at least as many.")


def _check_labels(c: Config) -> None:
    topic, policy, stream, workers = c.labels.label_topic, c.model.late_labels, c.stream, c.workers
    if policy != "wait" and not topic:
        raise wrong(f"--late_labels={policy} is for labels of a topic of their own: give --label_topic, or leave it out.")
    if policy == "es_dfm" and c.labels.label_elapsed_secs >= c.labels.label_wait_secs:
        raise wrong(
            f"--label_elapsed_secs={c.labels.label_elapsed_secs:g} is not below --label_wait_secs={c.labels.label_wait_secs:g}. "
            "Use less."
        )
    if not topic:
        return
    if topic == stream.topic:
        raise wrong(f"--label_topic={topic} is --topic, too. Outcomes are in a topic of their own.")
    unfit = {
        "input_files": stream.input_files,
        "reader": stream.reader if stream.reader == "tfio" else "",
        "reader_processes": stream.reader_processes,
        "cluster": workers.cluster if workers.cluster != "none" else "",
        "partition_groups": workers.partition_groups if workers.partition_groups > 1 else 0,
    }
    for name, value in unfit.items():
        if value:
            raise wrong(f"--{name}={value}: --label_topic joins two topics in one process, by --reader=consumer. Leave it out.")
    if policy != "wait" and c.reporting.metrics_by:
        raise wrong(
            f"--metrics_by={c.reporting.metrics_by} counts rows by their labels when they are scored, and with --late_labels="
            f"{policy} these are not known yet. Leave it out, or use --late_labels=wait."
        )
    if policy != "wait" and c.features.keep_negatives < 1:
        raise wrong(
            f"--late_labels={policy} does not go with --keep_negatives: which rows stay negatives is not known when they are "
            "learned from. Leave one of them out."
        )


def _check_vocabulary(c: Config) -> None:
    rows = c.vocabulary.vocabulary_rows
    if rows and not c.features.oov_buckets:
        raise wrong(
            f"--vocabulary_rows={rows} needs --oov_buckets: values without a row share them, and a new row begins as a copy of its "
            "bucket's. Use --oov_buckets=100000 or so."
        )
    if rows and c.model.vocab_size:
        raise wrong(f"--vocab_size={c.model.vocab_size}: with --vocabulary_rows the number of ids follows. Leave it out.")
    if rows and c.vocabulary.vocabulary_from == "stream" and c.features.numeric != "bucket":
        raise wrong(
            f"--numeric={c.features.numeric} needs the columns' ranges, which no dictionary gives with --vocabulary_rows. Use "
            "--numeric=bucket, or --vocabulary_from=dictionaries."
        )


def parse(argv: list[str]) -> Config | None:
    """Reads the trainer's flags, `--flagfile` included. None when help was asked for and has been printed.

    Raises:
      UserError: a flag is unknown or wrong (64), or a flag file is missing (66).
    """
    usage = [
        "python -m tfonline.train --flagfile=configs/criteo.flags --bootstrap_servers=host:9092 --topic=clicks "
        "--model_dir=runs/clicks",
        "",
        "Trains a model (Wide & Deep, or --network) on the rows of a Kafka topic as they come. The same command resumes.",
        "--flagfile=FILE reads flags from a file, one a line; later flags win. Exit codes: "
        + ", ".join(f"{code.value} {code.name.lower()}" for code in Exit)
        + ".",
    ]
    return flags.parse(Config, "python -m tfonline.train", "\n".join(usage), argv)
