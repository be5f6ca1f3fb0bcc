"""Which reader reads a topic: tensorflow-io's op where it is installed and can, else a consumer. No Kafka, no TensorFlow.

Both give the same rows in the same order, so a model or a journal may go on with either.
"""

import importlib.metadata
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tfonline.lifecycle import Exit, UserError

if TYPE_CHECKING:
    from tfonline.stream.broker import KafkaTopic
    from tfonline.stream.readers.consumer import ConsumerReader
    from tfonline.stream.readers.tfio import TfioReader

# Partitions that a process can read by tensorflow-io's op, which makes a consumer for each at each window. Seen on two cores beside
# the broker: 512 partitions took 3,754 threads, 2,863 open files and 3 s a window; 1,000 took 7,546, 6,451 and 12 s, and more
# where the machine is busy: that comes near --broker_timeout_secs, after which a read is taken for one that hangs.
MOST_PARTITIONS = 512

_VERIFIES = "ssl.endpoint.identification.algorithm"
_TFIO_NEEDS = "2.16."  # the last tensorflow-io, 0.37.1, is built for this TensorFlow


def open_reader(
    which: str,
    topic: "KafkaTopic",
    servers: str,
    group: str,
    properties: dict[str, str],
    workers: int,
    say: Callable[[str], None],
) -> "TfioReader | ConsumerReader":
    """The reader of --reader, tried: it has reached the broker.

    Args:
      which: auto, tfio or consumer.
      topic: the admin side.
      servers: as in the flag.
      group: a consumer group's name.
      properties: librdkafka properties; may hold secrets.
      workers: how many processes share the partitions.
      say: told of what auto has chosen, where that is not tfio.

    Raises:
      UserError: tfio is asked for and cannot read the topic, or a property is refused (exit 64); the broker does not answer
        (69, 75) or refuses the log-in (77).
    """
    hindrance = why_not_tfio(properties, topic.num_partitions, workers, version("tensorflow-io"), version("tensorflow"))
    if which == "tfio" and hindrance:
        raise UserError(f"--reader=tfio cannot read topic {topic.name}: {hindrance}. Use --reader=consumer, or auto.", Exit.FLAGS)
    if which == "auto":
        hindrance = hindrance or _unverified(properties)
        which = "consumer" if hindrance else "tfio"
        if hindrance:
            say(f"reader: consumer, for {hindrance}")
    if which == "consumer":
        from tfonline.stream.readers.consumer import ConsumerReader

        reader = ConsumerReader(topic, servers, group, properties, workers)
        reader.check()
        return reader
    from tfonline.stream.readers.tfio import TfioReader

    reader = TfioReader(topic, servers, group, properties)
    reader.check(workers)
    return reader


def why_not_tfio(properties: Mapping[str, str], num_partitions: int, workers: int, tfio: str | None, tensorflow: str | None) -> str:
    """Why tensorflow-io's op cannot read a topic, in words without a secret; '' where it can.

    Args:
      properties: librdkafka properties.
      num_partitions: of the topic.
      workers: how many processes share them.
      tfio: the version of tensorflow-io; None: it is not installed.
      tensorflow: the version of TensorFlow.
    """
    if tfio is None:
        return "tensorflow-io is not installed"
    if not (tensorflow or "").startswith(_TFIO_NEEDS):
        return f"tensorflow-io {tfio} needs TensorFlow {_TFIO_NEEDS[:-1]}, and {tensorflow} is installed"
    protocol = properties.get("security.protocol", "PLAINTEXT").upper()
    mechanism = properties.get("sasl.mechanism", properties.get("sasl.mechanisms", "")).upper()
    if protocol.startswith("SASL_") and (mechanism.startswith("SCRAM-") or mechanism == "OAUTHBEARER"):
        return f"the tensorflow-io reader's librdkafka 1.5 does not log in everywhere by {mechanism}"
    if key := next((key for key, value in properties.items() if "=" in value), ""):
        return f"the tensorflow-io reader does not take the value of {key}, which holds '='"
    if properties.get(_VERIFIES, "none").lower() != "none":
        return f"the tensorflow-io reader never connects with {_VERIFIES}={properties[_VERIFIES]}"
    if num_partitions > MOST_PARTITIONS * workers:
        return (
            f"the topic has {num_partitions:,} partitions, and the tensorflow-io reader, which takes seven threads and six open "
            f"files for each, reads {MOST_PARTITIONS} a worker at most"
        )
    return ""


def _unverified(properties: Mapping[str, str]) -> str:
    """What tensorflow-io's op would leave out, and the consumer does by default; '' for nothing."""
    if properties.get("security.protocol", "").upper().endswith("SSL") and _VERIFIES not in properties:
        return "the tensorflow-io reader does not verify the brokers' host names over TLS"
    return ""


def version(package: str) -> str | None:
    """The version of an installed package; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
