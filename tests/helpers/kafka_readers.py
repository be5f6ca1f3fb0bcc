"""The readers of Kafka topics that this environment can run, by name. Each makes one, given the topic and the brokers."""

from tfonline.stream.readers.choose import has_tensorflow_io
from tfonline.stream.readers.consumer import ConsumerReader
from tfonline.stream.readers.tfio import TfioReader

KAFKA_READERS = {"consumer": lambda topic, servers: ConsumerReader(topic)}
if has_tensorflow_io():
    KAFKA_READERS["tfio"] = lambda topic, servers: TfioReader(topic, servers, "test", {})
