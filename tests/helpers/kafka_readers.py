"""The readers of Kafka topics that this environment can run, by name. Each makes one, given the topic and the brokers."""

from tfonline.stream.readers.choose import has_tensorflow_io
from tfonline.stream.readers.consumer import ConsumerReader
from tfonline.stream.readers.processes import ProcessReader
from tfonline.stream.readers.tfio import TfioReader
from tfonline.stream.readers.worker import Source


def process_reader(topic, servers, num_processes=2, num_workers=1, say=print):
    """Reads as a trainer with --reader_processes does."""
    source = Source(servers, topic.name, "test", {}, topic.timeout_secs, topic.num_partitions)
    return ProcessReader(source, num_processes, num_workers, topic.events, say)


KAFKA_READERS = {"consumer": lambda topic, servers: ConsumerReader(topic), "processes": process_reader}
if has_tensorflow_io():
    KAFKA_READERS["tfio"] = lambda topic, servers: TfioReader(topic, servers, "test", {})
