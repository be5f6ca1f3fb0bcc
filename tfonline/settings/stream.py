"""Which stream, which of its rows, and how they are cut into windows."""

import dataclasses
import datetime
import functools
import urllib.parse

from tfonline import flags
from tfonline.flags import flag, wrong
from tfonline.formats import FORMATS, registry
from tfonline.stream import properties
from tfonline.stream.readers.choose import READERS

_MOST_PROCESSES = 64


@dataclasses.dataclass(frozen=True)
class StreamSettings:
    """The topic or the files."""

    # fmt: off
    bootstrap_servers: str = flag("localhost:9092", "Kafka brokers, host:port[,host:port].")
    topic: str = flag("python_test1", "Kafka topic that holds the rows.")
    message_format: str = flag("", "How a message holds a row: tsv, csv, json (a list of values), json_objects, avro, "
                               "protobuf, or arrow (many rows a message); docs/data.md. Empty: as the YAML of columns says, "
                               "else tsv.", choices=("", *FORMATS))
    reader: str = flag("auto", "What reads a topic: tfio (tensorflow-io), consumer (confluent-kafka: today's librdkafka, with the "
                       "rows' times), or auto: tfio where it is installed and can read this topic, else consumer. Both give "
                       "the same rows in the same order.", choices=READERS)
    reader_processes: int = flag(0, "Processes that read the topic for this trainer, each by a consumer of its own, where one "
                                 "Python process (some 0.3 million rows a second) keeps a GPU waiting. 0: the trainer's "
                                 "own. The rows and their order are the same. Needs --reader=consumer or auto.", lower=0)
    decoder_processes: int = flag(0, "Processes that decode messages for this trainer, where one Python process (some 0.2 million "
                                  "rows a second) keeps a GPU waiting: of json_objects, avro, protobuf and arrow. 0: the "
                                  "trainer's own. What is learned is the same.", lower=0)
    input_files: str = flag("", "Train from these files (comma separated, globs) and not from Kafka; each is a partition. "
                            "Lines of the --message_format, plain or .gz, with a header or without, or Parquet. New files may "
                            "come between two runs.")
    kafka_property: tuple[str, ...] = flag((), "A librdkafka property, key=value. May be repeated. Secrets belong "
                                           "in --kafka_properties_file.")
    kafka_properties_file: str = flag("", "File of librdkafka properties, one key=value a line, # comments. Its "
                                      "values are never printed or written.")
    registry_url: str = flag("", "Schema registry with Confluent's API, http(s)://host:port/path, for messages with framing: "
                             "confluent. A schema is kept in the model folder, and is not asked for again.")
    registry_properties_file: str = flag("", "File of the registry's properties, one key=value a line, such as "
                                         "basic.auth.user.info=user:password. Its values are never printed or written.")
    group: str = flag("tfonline", "Consumer group under which offsets are committed after each checkpoint, for lag "
                       "tools only: they are never read back.")
    broker_timeout_secs: float = flag(30.0, "How long the broker may be out of reach before the run ends with exit "
                                      "code 69.", lower=0.1)
    # fmt: on

    def __post_init__(self) -> None:
        flags.check(self)
        for name in ("reader_processes", "decoder_processes"):
            if getattr(self, name) > _MOST_PROCESSES:
                raise wrong(f"--{name}={getattr(self, name)} is too large. Expected at most {_MOST_PROCESSES}.")
        given = f"--reader_processes={self.reader_processes}"
        if self.reader_processes and self.reader == "tfio":
            raise wrong(f"{given} is for --reader=consumer, or auto, which takes that, and --reader=tfio is given. Leave one out.")
        if self.reader_processes and self.input_files:
            raise wrong(f"{given} reads a topic, and --input_files is given. Leave one out.")

        try:
            url = urllib.parse.urlsplit(self.registry_url)
            usable = url.scheme in ("http", "https") and url.hostname and (url.port or True) and not url.query
        except ValueError:
            usable = False
        if "@" in self.registry_url:  # it is not shown: what stands before it may be a password
            raise wrong("--registry_url holds an @, and flags are seen by all. A user's name and password belong in "
                        "--registry_properties_file, as basic.auth.user.info.")  # fmt: skip
        if self.registry_url and not usable:
            raise wrong(f"--registry_url={self.registry_url} is no address. Expected one such as http://registry:8081.")

    @functools.cached_property
    def registry_properties(self) -> dict[str, str]:
        """The properties of --registry_properties_file; the values may be secret. As read_properties, it is no field.

        Raises:
          UserError: a line is not key=value, or there is no such property (exit 64); the file cannot be read (66).
        """
        found = properties.read_file(self.registry_properties_file, "registry_properties_file")
        for key, _, where in found:
            if key not in registry.PROPERTIES:
                raise wrong(f"{where}: {key} is no property of a registry. Expected one of {', '.join(registry.PROPERTIES)}.")
        return properties.as_dict(found)

    @functools.cached_property
    def read_properties(self) -> dict[str, str]:
        """The librdkafka properties of --kafka_properties_file and --kafka_property (which wins); the values may be secret.

        Read once, and no field: whatever shows the settings shows their fields.

        Raises:
          UserError: a line is not key=value, or a property is the trainer's own (exit 64); the file cannot be read (66).
        """
        found = properties.read_properties(self.kafka_properties_file, self.kafka_property)
        properties.refuse_the_trainers_own(found)
        return properties.as_dict(found)


@dataclasses.dataclass(frozen=True)
class WindowSettings:
    """Where the stream starts and ends, and what is one window of it."""

    # fmt: off
    start: str = flag("earliest", "Where a new model starts: earliest, latest, timestamp:<RFC 3339>, "
                       "committed:<group> or offsets:<JSON file, partition to offset>.")
    stop_at: str = flag("never", "Where the run ends: never (a resident service), latest (the end offsets seen at "
                        "the start) or timestamp:<RFC 3339>.")
    window_rows: int = flag(10_000, "A window is planned when this many rows are there, over all partitions.",
                            lower=1)
    window_secs: float = flag(5.0, "... or when this many seconds have passed since the last plan and a row is "
                              "there.", lower=0.01)
    max_idle_secs: float = flag(0.0, "End when no row came for this long. 0: never.", lower=0)
    max_lag_rows: int = flag(0, "Rows of lag above which --lag_policy decides. 0: any lag is worked through.",
                             lower=0)
    lag_policy: str = flag("work", "Above --max_lag_rows: work through it, or skip ahead (journalled, counted and "
                           "said).", choices=("work", "skip"))
    on_lost_rows: str = flag("fail", "Where retention has removed rows that were to be trained next: fail (exit code "
                             "66, saying which), or skip behind them (journalled, counted and said).",
                             choices=("fail", "skip"))
    skip_window: int = flag(-1, "Pass over this window, once and journalled: one whose rows break the model. -1: none.",
                            lower=-1)
    replay_journal: str = flag("", "Train the windows of this journal (windows.jsonl of another run) and end.")
    # fmt: on

    def __post_init__(self) -> None:
        flags.check(self)
        if self.lag_policy == "skip" and not self.max_lag_rows:
            raise wrong("--lag_policy=skip needs --max_lag_rows, the lag above which it skips.")
        if self.lag_policy == "skip" and self.max_lag_rows < self.window_rows:
            raise wrong(
                f"--max_lag_rows={self.max_lag_rows} is below --window_rows={self.window_rows}: rows that only wait for their "
                f"window to fill would be skipped. Use at least {self.window_rows}."
            )
        if self.replay_journal and (self.on_lost_rows == "skip" or self.skip_window >= 0):
            raise wrong("--replay_journal trains windows as they were: leave out --on_lost_rows=skip and --skip_window.")
        _check_position("start", self.start, ("earliest", "latest"), ("timestamp", "committed", "offsets"))
        _check_position("stop_at", self.stop_at, ("never", "latest"), ("timestamp",))


def timestamp_ms(text: str) -> int:
    """RFC 3339 with a zone to milliseconds since 1970."""
    return round(datetime.datetime.fromisoformat(text).timestamp() * 1000)


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
