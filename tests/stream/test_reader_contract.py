"""Every reader through the same checks. Who adds a reader adds a line to READERS."""

import gzip

import pytest
import tensorflow as tf
from contracts.readers import CHECKS, check_reader

from tfonline.lifecycle import Stop
from tfonline.stream.broker import KafkaTopic
from tfonline.stream.readers.consumer import ConsumerReader
from tfonline.stream.readers.files import FileReader
from tfonline.stream.readers.memory import MemorySource
from tfonline.stream.readers.tfio import TfioReader

PARTITIONS = [[b"a%d" % i for i in range(1300)], [], [b"c%d" % i * (i % 3) for i in range(7)], [b"d\x00\xff", b"", b"d2"]]
ROWS = [list(enumerate(lines)) for lines in PARTITIONS]


def of_memory(_, __):
    return lambda: MemorySource(PARTITIONS)


def of_files(request, suffix):
    folder, paths = request.getfixturevalue("tmp_path"), []
    for i, lines in enumerate(PARTITIONS):
        paths.append(str(folder / f"{i}{suffix}"))
        content = b"".join(line + b"\n" for line in lines)
        (folder / f"{i}{suffix}").write_bytes(gzip.compress(content) if suffix else content)
    return lambda: FileReader(paths)


def of_kafka(request, kind):
    broker, topic = (request.getfixturevalue(name) for name in ("broker", "topic"))
    name = topic(PARTITIONS)
    return lambda: kind(KafkaTopic(broker.bootstrap, name, "contract", {}, 5.0, Stop(), print), broker.bootstrap, "contract", {})


READERS = {
    "memory": (of_memory, None),
    "files": (of_files, ""),
    "packed files": (of_files, ".gz"),
    "tfio": (of_kafka, TfioReader),
    "consumer": (of_kafka, ConsumerReader),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", READERS)
def test_a_reader_keeps_its_contract(name, check, request):
    make, how = READERS[name]
    check(make(request, how), ROWS)


class Wrong(MemorySource):
    def rows(self, partition, start, stop):
        return self.spoilt(super().rows(partition, start, stop))


class Short(Wrong):
    def spoilt(self, pieces):
        return pieces.map(lambda m, o: (m[1:], o[1:]))


class Shuffled(Wrong):
    def spoilt(self, pieces):
        return pieces.map(lambda m, o: (tf.reverse(m, [0]), tf.reverse(o, [0])))


class Twice(Wrong):
    def spoilt(self, pieces):
        return pieces.repeat(2)


@pytest.mark.parametrize("reader", [Short, Shuffled, Twice])
def test_a_reader_that_breaks_it_is_found(reader):
    with pytest.raises(AssertionError):
        check_reader(lambda: reader(PARTITIONS), ROWS)
