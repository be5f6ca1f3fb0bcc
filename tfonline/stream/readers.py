"""Readers: tf.data graphs that give the rows of a window, the same rows in the same order every time.

A reader's `rows(partition, start, stop)` takes scalar int64 tensors and gives a Dataset of chunks `(message string [k],
offset int64 [k])` in offset order, `start <= offset < stop`, at most CHUNK_ROWS each. It runs inside a graph, once a window and
partition.
"""

import contextlib
import resource
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from tfonline.lifecycle import Exit, Stop, UserError
from tfonline.stream import listener
from tfonline.stream.broker import KafkaTopic, RowsGone
from tfonline.stream.properties import without_secrets
from tfonline.stream.raw import Origin, RawBatch
from tfonline.stream.windows import check_partitions

# Part of the order of rows: partitions take turns by chunks, so another size trains the same rows in another order.
CHUNK_ROWS = 512

# So long a log-in may take; one that works takes a fifth of a second.
_LOG_IN_SECS = 10.0

# Rows of a partition that may wait in librdkafka. With so many there it pauses for a second, in which these are not to run out.
_MOST_QUEUED = 500_000

# Partitions that a process can read by tensorflow-io's op, which makes a consumer for each at each window. Seen on two cores beside
# the broker: 512 partitions took 3,754 threads, 2,863 open files and 3 s a window; 1,000 took 7,546, 6,451 and 12 s, and more
# where the machine is busy: that comes near --broker_timeout_secs, after which a read is taken for one that hangs.
MOST_PARTITIONS = 512
_FILES_A_PARTITION = 7

_CHUNK_SPEC = (tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.int64))


class Reader(Protocol):
    """Reads ranges of offsets inside a tf.data graph.

    Attributes:
      error: what failed in Python under a read, if anything did.
    """

    error: Exception | None

    def rows(self, partition: tf.Tensor, start: tf.Tensor, stop: tf.Tensor) -> tf.data.Dataset:
        """Chunks `(message string [k], offset int64 [k])` of `[start, stop)`."""


def make_raw_batches(
    planner: Iterable, reader: Reader, batch_size: int, groups: int = 1, own: int | None = None
) -> tf.data.Dataset:
    """Follows the planner: `(RawBatch, window int64, last bool)`.

    Each window ends with an empty batch marked last, so that a window is seen to end whatever rows it turned out to hold. A tick
    is an empty batch of window -1.

    With several groups, a partition belongs to the group of its number modulo `groups`, and each group gives `batch_size // groups`
    rows to each batch of a window, for as long as it has any. A batch then holds the same rows wherever the groups are read: all
    here, or each by a worker of its own.

    Args:
      planner: gives `Window` or, for a tick, None.
      reader: reads a range of one partition.
      batch_size: rows a batch; only the last ones of a window are short.
      groups: of partitions.
      own: the group that is read here, its part of each batch by itself; None: all of them.
    """

    def plan():
        for w in planner:
            if w is None:
                yield -1, [], [], []
            else:
                yield w.number, w.read, [w.start[p] for p in w.read], [w.stop[p] for p in w.read]

    def rows_of(partition, start, stop):
        chunks = reader.rows(partition, start, stop)
        return chunks.map(lambda m, o: RawBatch(m, Origin(tf.fill(tf.shape(m), tf.cast(partition, tf.int32)), o)))

    def group(number, partitions, starts, stops):
        mine = partitions % groups == number
        ranges = tf.data.Dataset.from_tensor_slices(tuple(tf.boolean_mask(t, mine) for t in (partitions, starts, stops)))
        # As many reads in flight as partitions: with fewer, some starve. The window says how many: a topic may get more.
        in_flight = tf.maximum(tf.math.count_nonzero(mine), 1)
        rows = ranges.interleave(rows_of, cycle_length=in_flight, num_parallel_calls=in_flight, deterministic=True)
        return rows.rebatch(batch_size // groups)

    @tf.autograph.experimental.do_not_convert  # generators inside; nothing here needs converting
    def window(number, partitions, starts, stops):
        nothing = RawBatch(tf.zeros([0], tf.string), Origin(tf.zeros([0], tf.int32), tf.zeros([0], tf.int64)))
        parts = [group(g, partitions, starts, stops) for g in (range(groups) if own is None else [own])]
        batches = parts[0] if len(parts) == 1 else _side_by_side(parts, nothing)
        end = tf.data.Dataset.from_tensors((nothing, number, True))
        return batches.map(lambda raw: (raw, number, False)).concatenate(end)

    vector = tf.TensorSpec([None], tf.int64)
    windows = tf.data.Dataset.from_generator(plan, output_signature=(tf.TensorSpec([], tf.int64), vector, vector, vector))
    return windows.flat_map(window)


def _side_by_side(parts: Sequence[tf.data.Dataset], nothing: RawBatch) -> tf.data.Dataset:
    """The first batches of all parts as one, then the second ones, and so on until the longest part ends."""
    padding = tf.data.Dataset.from_tensors(nothing).repeat()
    rows = tf.data.Dataset.zip(tuple(part.concatenate(padding) for part in parts))
    rows = rows.map(lambda *parts: tf.nest.map_structure(lambda *x: tf.concat(x, axis=0), *parts))
    return rows.take_while(lambda raw: tf.size(raw.message) > 0)


class KafkaReader:
    """Reads a topic by tensorflow-io's Kafka op, bounded: the op ends by itself at the end of the range.

    Args:
      topic: the admin side; it also reads what the op left out, when the op ended early.
      servers: as in the flag.
      group: a consumer group's name; the op wants one, nothing is committed under it.
      properties: librdkafka properties.

    Attributes:
      error: what failed in Python under a read, if anything did.
    """

    def __init__(self, topic: KafkaTopic, servers: str, group: str, properties: dict[str, str]):
        self._topic, self._servers, self._group, self._properties = topic, servers, group, properties
        # A short window must not wait for a fuller answer, nor the first one after the broker was away for the next attempt.
        settings = {
            "fetch.wait.max.ms": "10",
            "reconnect.backoff.max.ms": "1000",
            **properties,
            "enable.auto.commit": "false",
            "isolation.level": "read_committed",
        }
        self._settings = [f"{k}={v}" for k, v in settings.items()]
        self._sets_queue = "queued.min.messages" in settings
        self.error: Exception | None = None

    def check(self, workers: int = 1) -> None:
        """Reads nothing, to see whether the op accepts the properties, whether its log-in works where there is one, and that the
        topic has not too many partitions.

        The op has a librdkafka of its own, of another version than the admin side's: that one's log-in says nothing of this one's.

        Args:
          workers: how many processes share the partitions.

        Raises:
          UserError: it does not accept them, or there are too many (exit 64); it cannot log in (77), or does not answer though the
            admin side does (75).
        """
        check_partitions(self._topic.num_partitions, MOST_PARTITIONS * workers)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = soft + _FILES_A_PARTITION * -(-self._topic.num_partitions // workers)
        # Where there are too few, librdkafka tries again and again, and a window takes several times as long.
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
        try:
            list(self._op(tf.constant(f"{self._topic.name}:0:0:0"), tf.constant(1, tf.int64)))
        except tf.errors.OpError as e:
            said = e.message.rpartition("}} ")[2].partition(" [Op:")[0]  # without TensorFlow's own words around it
            raise UserError(
                f"the tensorflow-io reader refuses a Kafka property: {without_secrets(said, self._properties)}. It is built on "
                "librdkafka 1.5: use the names of that version.",
                Exit.FLAGS,
            ) from None  # the op's own error quotes the property, be it a password
        if self._protocol != "PLAINTEXT":
            self._check_log_in()

    @property
    def _protocol(self) -> str:
        return self._properties.get("security.protocol", "PLAINTEXT").upper()

    def _check_log_in(self) -> None:
        """Reads at the end of a partition. A log-in that is refused is tried again and again inside the op, without a word."""
        end, answered = self._topic.ends()[0], threading.Event()

        def read() -> None:
            with contextlib.suppress(tf.errors.OpError):  # what is wrong with reading, the first window says
                list(self._op(tf.constant(f"{self._topic.name}:0:{end}:{end + 1}"), tf.constant(1, tf.int64)))
            answered.set()

        # A thread of its own, for a wait inside the op cannot be ended.
        threading.Thread(target=read, name="log-in", daemon=True).start()
        if answered.wait(min(self._topic.timeout_secs, _LOG_IN_SECS)):
            return
        self._topic.check_reachable()
        mechanism = self._properties.get("sasl.mechanism", self._properties.get("sasl.mechanisms", "")).upper()
        tls, head = self._protocol.endswith("SSL"), f"the tensorflow-io reader cannot log in to the Kafka broker at {self._servers}"
        own = "It has a librdkafka of its own, version 1.5; the admin side and the tools use a newer one, and do log in."
        scram = self._protocol.startswith("SASL_") and mechanism.startswith("SCRAM-")
        if scram and any(listener.is_kafka_4(host, port, tls) for host, port in listener.addresses(self._servers)):
            raise UserError(
                f"{head} by {mechanism}. {own} Before version 2.6.1 that library's SCRAM does not work with Kafka 4. Use PLAIN "
                "over TLS (security.protocol=SASL_SSL, sasl.mechanism=PLAIN), a client's certificate (SSL), or brokers of Kafka 3.",
                Exit.CREDENTIALS,
            )
        raise UserError(
            f"{head}: no answer for {min(self._topic.timeout_secs, _LOG_IN_SECS):g} s. {own} Look at the broker's log for why it "
            "refuses this client. librdkafka 1.5 knows PLAIN, a client's certificate and, with Kafka 3, SCRAM.",
            Exit.TRY_AGAIN,
        )

    def rows(self, partition: tf.Tensor, start: tf.Tensor, stop: tf.Tensor) -> tf.data.Dataset:
        """See the module; gaps and aborted records are passed over."""
        # The op's limit is inclusive, and a range whose limit is not above its start gives nothing.
        limit = tf.maximum(stop - 1, start + 1)
        parts = [self._topic.name] + [tf.strings.as_string(n) for n in (partition, start, limit)]
        prefix = tf.strings.length(parts[1]) + 1

        def before_stop(message, key):
            offset = tf.strings.to_number(tf.strings.substr(key, prefix, 20), tf.int64)  # "partition:offset"
            count = tf.math.count_nonzero(offset < stop)  # the first ones: offsets rise
            return message[:count], offset[:count]

        read = self._op(tf.strings.join(parts, ":"), stop - start).batch(CHUNK_ROWS).map(before_stop)
        end = tf.data.Dataset.from_tensors((tf.zeros([0], tf.string), tf.zeros([0], tf.int64)))

        def marked(chunks, is_end):
            return chunks.map(lambda m, o: (m, o, is_end))

        whole = marked(read, False).concatenate(marked(end, True))

        def complete(last, chunk):
            # The op ends without an error at an end of partition that came too early (a new leader's watermark lags), so a read
            # that ended below stop - 1 is whole only if a plain consumer finds nothing in the rest.
            message, offset, ended = chunk
            short = ended & (last < stop - 1)
            message, offset = tf.cond(short, lambda: self._rest(partition, last + 1, stop), lambda: (message, offset))
            last = tf.cond(tf.size(offset) > 0, lambda: offset[-1], lambda: last)
            return last, (message, offset)

        # Chunks are cut anew, so that their bounds, and with them the order of rows, do not depend on how the read went.
        return whole.scan(start - 1, complete).rebatch(CHUNK_ROWS)

    def _rest(self, partition: tf.Tensor, start: tf.Tensor, stop: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        def fetch(p, s, e):
            try:
                values, offsets = self._topic.fetch(int(p), int(s), int(e))
            except RowsGone:  # the training loop asks whose they are, and what is to be done
                raise
            except Exception as error:  # tf.data would turn it into a text of its own; the training loop raises this one
                self.error = error
                raise
            return np.array(values, object), np.array(offsets, np.int64)

        message, offset = tf.numpy_function(fetch, [partition, start, stop], [tf.string, tf.int64])
        return tf.ensure_shape(message, [None]), tf.ensure_shape(offset, [None])

    def _op(self, spec: tf.Tensor, rows: tf.Tensor) -> tf.data.Dataset:
        from tensorflow_io.python.ops import core_ops  # loads 0.3 s of shared library: only where Kafka is read

        settings = tf.constant(self._settings)
        if not self._sets_queue:
            # Else librdkafka fetches and parses far beyond the end. Below `rows` it would pause for a second before the end.
            queue = tf.strings.as_string(tf.clip_by_value(rows, 1, _MOST_QUEUED))
            settings = tf.concat([settings, [tf.strings.join(["queued.min.messages=", queue])]], axis=0)
        variant = core_ops.io_kafka_dataset(
            topics=[spec],
            servers=self._servers,
            group=self._group,
            eof=True,  # False blocks inside C++ where neither a signal nor the iterator's end reaches it
            timeout=500,
            config_global=settings,
            config_topic=["auto.offset.reset=error"],  # else a start out of range is skipped silently
            message_key=False,
            message_offset=True,
        )
        return tf.data.experimental.from_variant(variant, (tf.TensorSpec([], tf.string),) * 2)


def generated_rows(
    chunks: Callable[[int, int, int], Iterable[list[bytes]]], partition: tf.Tensor, start: tf.Tensor, stop: tf.Tensor
) -> tf.data.Dataset:
    """Chunks from Python: `chunks(partition, start, stop)` gives lists of at most CHUNK_ROWS rows."""

    def generate(p, s, e):
        offset = int(s)
        for chunk in chunks(int(p), offset, int(e)):
            yield chunk, np.arange(offset, offset + len(chunk))
            offset += len(chunk)

    return tf.data.Dataset.from_generator(generate, args=(partition, start, stop), output_signature=_CHUNK_SPEC)


class MemorySource:
    """Rows in lists, one a partition: reader and admin side in one. More rows may be appended at any time."""

    topic_id = ""
    error = None

    def __init__(self, partitions: Sequence[list[bytes]], name: str = "memory"):
        self.partitions, self.name = list(partitions), name
        self.num_partitions = len(self.partitions)

    def begins(self) -> list[int]:
        """0 for each partition."""
        return [0] * self.num_partitions

    def ends(self) -> list[int]:
        """The number of rows of each partition."""
        return [len(rows) for rows in self.partitions]

    def wait_for_rows(self, ends: Sequence[int], stop: Stop, secs: float) -> bool:
        """See Source; a row that is appended waits for a twentieth of a second at most."""
        stop.wait(min(secs, 0.05))
        return True

    def rows(self, partition: tf.Tensor, start: tf.Tensor, stop: tf.Tensor) -> tf.data.Dataset:
        """See the module."""
        return generated_rows(self._chunks, partition, start, stop)

    def _chunks(self, partition: int, start: int, stop: int) -> Iterator[list[bytes]]:
        for at in range(start, stop, CHUNK_ROWS):
            yield self.partitions[partition][at : min(at + CHUNK_ROWS, stop)]
