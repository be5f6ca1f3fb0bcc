"""The readers of Kafka topics that this environment can run. What trains from a topic asks for the fixture `kafka_reader`."""

from tfonline.stream.broker import KafkaTopic
from tfonline.stream.readers import Reader, tfio


def _make_tfio(topic: KafkaTopic, servers: str) -> Reader:
    return tfio.TfioReader(topic, servers, "test", {})


# Name: makes one, given the topic and the brokers' addresses. The trainer takes the first one.
KAFKA_READERS = {"tfio": _make_tfio} if tfio.is_installed() else {}
