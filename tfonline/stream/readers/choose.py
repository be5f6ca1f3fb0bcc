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
    settings: "StreamSettings", topic: "KafkaTopic", num_workers: int, say: Callable[[str], None]
) -> "Reader | RowReader":
    """The reader of a topic; says why --reader=auto does not take tensorflow-io's.

    Raises:
      UserError: it cannot read this topic (exit 64), or cannot log in (75, 77).
    """
    name, why = choose_reader(settings.reader, settings.read_properties, topic.num_partitions, num_workers)
    if why:
        say(f"--reader=auto takes {name}: {why}")
    if name == "consumer":
        from tfonline.stream.readers.consumer import ConsumerReader

        return ConsumerReader(topic, -(-topic.num_partitions // num_workers))
    from tfonline.stream.readers.tfio import TfioReader

    reader = TfioReader(topic, settings.bootstrap_servers, settings.group, settings.read_properties)
    reader.check(num_workers)
    return reader


def choose_reader(wanted: str, properties: Mapping[str, str], num_partitions: int, num_workers: int) -> tuple[str, str]:
    """The reader, `tfio` or `consumer`, and why --reader=auto does not take tensorflow-io's; '' where it does, or was not asked.

    Args:
      wanted: one of READERS.
      properties: librdkafka's; they may hold secrets.
      num_partitions: of the topic.
      num_workers: that share them.

    Raises:
      UserError: tfio is wanted, and cannot read this topic (exit 64).
    """
    if wanted == "consumer":
        return wanted, ""
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
