"""Which reader a run of Kafka takes, as --reader says."""

import importlib.util
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tfonline.flags import wrong
from tfonline.stream.properties import with_equals_sign

if TYPE_CHECKING:
    from tfonline.settings.stream import StreamSettings
    from tfonline.stream.broker import KafkaTopic
    from tfonline.stream.readers import Reader, RowReader

READERS = ("auto", "tfio", "consumer")
# Partitions that a process can read by tensorflow-io's op, which makes a consumer for each at each window. Seen on two cores beside
# the broker: 512 partitions took 3,754 threads, 2,863 open files and 3 s a window; 1,000 took 7,546, 6,451 and 12 s, and more
# where the machine is busy: that comes near --broker_timeout_secs, after which a read is taken for one that hangs.
MOST_PARTITIONS_OF_TFIO = 512
_HOST_NAMES = "ssl.endpoint.identification.algorithm"


def open_reader(
    settings: "StreamSettings", topic: "KafkaTopic", num_workers: int, say: Callable[[str], None], keys: bool = False
) -> "Reader | RowReader":
    """The reader of a topic; says why --reader=auto does not take tensorflow-io's.

    Args:
      settings: the flags.
      topic: the admin side.
      num_workers: that share the partitions.
      say: where lines for people go.
      keys: whether messages' keys are wanted, too, which --reader=consumer alone gives, in this process.

    Raises:
      UserError: it cannot read this topic (exit 64), or cannot log in (75, 77).
    """
    properties, num_processes = settings.read_properties, settings.reader_processes
    name, why = choose_reader(settings.reader, properties, topic.num_partitions, num_workers, num_processes, keys)
    if why:
        say(f"--reader=auto takes {name}: {why}")
    num_partitions = -(-topic.num_partitions // num_workers)
    if name == "consumer" and num_processes:
        from tfonline.stream.readers.processes import ProcessReader
        from tfonline.stream.readers.worker import Source

        source = Source(settings.bootstrap_servers, topic.name, settings.group, properties, topic.timeout_secs, num_partitions)
        return ProcessReader(source, num_processes, num_workers, topic.events, say)
    if name == "consumer":
        from tfonline.stream.readers.consumer import ConsumerReader

        return ConsumerReader(topic, num_partitions, keys)
    from tfonline.stream.readers.tfio import TfioReader

    reader = TfioReader(topic, settings.bootstrap_servers, settings.group, properties)
    reader.check(num_workers)
    return reader


def choose_reader(
    wanted: str, properties: Mapping[str, str], num_partitions: int, num_workers: int, num_processes: int = 0, keys: bool = False
) -> tuple[str, str]:
    """The reader, `tfio` or `consumer`, and why --reader=auto does not take tensorflow-io's; '' where it does, or was not asked.

    Args:
      wanted: one of READERS.
      properties: librdkafka's; they may hold secrets.
      num_partitions: of the topic.
      num_workers: that share them.
      num_processes: --reader_processes.
      keys: whether messages' keys are wanted, too.

    Raises:
      UserError: tfio is wanted, and cannot read this topic (exit 64).
    """
    if wanted == "consumer":
        return wanted, ""
    if keys:  # --reader=tfio with either is refused where the flags are read
        return "consumer", "it gives the messages' keys and times, by which --label_topic is joined"
    if num_processes:
        return "consumer", f"--reader_processes={num_processes} is for that reader alone"
    cannot = _why_tfio_cannot(properties, num_partitions, num_workers)
    if wanted == "tfio" and cannot:
        raise wrong(f"--reader=tfio: {cannot}. Use --reader=consumer, or auto.")
    if wanted == "auto" and (why := cannot or _why_rather_not_tfio(properties)):
        return "consumer", why
    return "tfio", ""


def has_tensorflow_io() -> bool:
    """Whether this environment has tensorflow-io: it goes with TensorFlow 2.16 only."""
    return importlib.util.find_spec("tensorflow_io") is not None


def _why_tfio_cannot(properties: Mapping[str, str], num_partitions: int, num_workers: int) -> str:
    """What keeps tensorflow-io's reader, which is built on librdkafka 1.5, from reading this topic; '' where nothing does."""
    mechanism = properties.get("sasl.mechanism", properties.get("sasl.mechanisms", "")).upper()
    most = MOST_PARTITIONS_OF_TFIO * num_workers
    if not has_tensorflow_io():
        return "tensorflow-io is not installed; it goes with TensorFlow 2.16 only"
    if mechanism in ("OAUTHBEARER", "GSSAPI"):
        return f"tensorflow-io's librdkafka 1.5 cannot log in by {mechanism}"
    if keys := with_equals_sign(properties):
        return f"the value of {', '.join(keys)} holds '=', which tensorflow-io refuses"
    if properties.get(_HOST_NAMES, "").lower() == "https":
        return f"tensorflow-io's librdkafka 1.5 never connects with {_HOST_NAMES}=https"
    if num_partitions > most:
        return (
            f"the topic has {num_partitions:,} partitions, and tensorflow-io can read {most:,} at most: it takes some seven "
            "threads and six open files for each"
        )
    return ""


def _why_rather_not_tfio(properties: Mapping[str, str]) -> str:
    """What tensorflow-io's reader does worse than today's librdkafka, where that matters; '' where nothing does."""
    mechanism = properties.get("sasl.mechanism", properties.get("sasl.mechanisms", "")).upper()
    if mechanism.startswith("SCRAM-"):
        return f"tensorflow-io's librdkafka 1.5 cannot log in by {mechanism} to Kafka 4"
    if properties.get("security.protocol", "").upper().endswith("SSL") and properties.get(_HOST_NAMES, "").lower() != "none":
        return "tensorflow-io's librdkafka 1.5 does not verify that a broker's certificate is for its host name"
    return ""
