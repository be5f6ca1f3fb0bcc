"""Rows of a Kafka topic, read by tensorflow-io's op."""

import contextlib
import resource
import threading

import numpy as np
import tensorflow as tf

from tfonline.lifecycle import Exit, UserError
from tfonline.stream import listener
from tfonline.stream.broker import KafkaTopic, RowsGone
from tfonline.stream.properties import without_secrets
from tfonline.stream.readers.choose import MOST_PARTITIONS
from tfonline.stream.windows import check_partitions

# Rows that are taken from the op at once. One by one they would cost far more.
_PIECE_ROWS = 512

# So long a log-in may take; one that works takes a fifth of a second.
_LOG_IN_SECS = 10.0

# Rows of a partition that may wait in librdkafka. With so many there it pauses for a second, in which these are not to run out.
_MOST_QUEUED = 500_000

_FILES_A_PARTITION = 7


class TfioReader:
    """Reads a topic by tensorflow-io's Kafka op, bounded: the op ends by itself at the end of the range.

    Args:
      topic: the admin side; it also reads what the op left out, when the op ended early.
      servers: as in the flag.
      group: a consumer group's name; the op wants one, nothing is committed under it.
      properties: librdkafka properties.

    Attributes:
      most_partitions: that one process can read.
      error: what failed in Python under a read, if anything did.
    """

    most_partitions = MOST_PARTITIONS

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
                "over TLS (security.protocol=SASL_SSL, sasl.mechanism=PLAIN), a client's certificate (SSL), or --reader=consumer.",
                Exit.CREDENTIALS,
            )
        raise UserError(
            f"{head}: no answer for {min(self._topic.timeout_secs, _LOG_IN_SECS):g} s. {own} Look at the broker's log for why it "
            "refuses this client. librdkafka 1.5 knows PLAIN, a client's certificate and, with Kafka 3, SCRAM.",
            Exit.TRY_AGAIN,
        )

    def rows(self, partition: tf.Tensor, start: tf.Tensor, stop: tf.Tensor) -> tf.data.Dataset:
        """See Reader; gaps and aborted records are passed over."""
        # The op's limit is inclusive, and a range whose limit is not above its start gives nothing.
        limit = tf.maximum(stop - 1, start + 1)
        parts = [self._topic.name] + [tf.strings.as_string(n) for n in (partition, start, limit)]
        prefix = tf.strings.length(parts[1]) + 1

        def before_stop(message, key):
            offset = tf.strings.to_number(tf.strings.substr(key, prefix, 20), tf.int64)  # "partition:offset"
            count = tf.math.count_nonzero(offset < stop)  # the first ones: offsets rise
            return message[:count], offset[:count]

        read = self._op(tf.strings.join(parts, ":"), stop - start).batch(_PIECE_ROWS).map(before_stop)
        end = tf.data.Dataset.from_tensors((tf.zeros([0], tf.string), tf.zeros([0], tf.int64)))

        def marked(pieces, is_end):
            return pieces.map(lambda m, o: (m, o, is_end))

        whole = marked(read, False).concatenate(marked(end, True))

        def complete(last, piece):
            # The op ends without an error at an end of partition that came too early (a new leader's watermark lags), so a read
            # that ended below stop - 1 is whole only if a plain consumer finds nothing in the rest.
            message, offset, ended = piece
            short = ended & (last < stop - 1)
            message, offset = tf.cond(short, lambda: self._rest(partition, last + 1, stop), lambda: (message, offset))
            last = tf.cond(tf.size(offset) > 0, lambda: offset[-1], lambda: last)
            return last, (message, offset)

        # Chunks are cut anew, so that their bounds, and with them the order of rows, do not depend on how the read went.
        return whole.scan(start - 1, complete).rebatch(_PIECE_ROWS)

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
