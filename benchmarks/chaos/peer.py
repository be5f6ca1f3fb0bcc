"""A Keras model that learns from Kafka as the stack's published examples have it; the chaos kills it as it kills the trainer.

    python -m benchmarks.chaos.peer --bootstrap_servers=… --topic=… --model_dir=… --group=… --commit=auto|after_checkpoint

It follows three of them:

- TensorFlow I/O's tutorial "Robust machine learning on streaming data using Kafka and Tensorflow-IO", part online learning: a
  consumer group that begins at the earliest row, whose offsets the broker keeps, and a Keras model that is fitted to each small
  batch that comes.
- confluent-kafka's documentation of the Consumer: `group.id` with automatic commits, which are the default, or with
  `enable.auto.commit` off and a synchronous commit once the work is done. It takes the place of the tutorial's dataset, which
  does not tell a row's partition and offset, so that nothing could be counted.
- TensorFlow's guide "Training checkpoints": model and optimizer in one tf.train.Checkpoint, a CheckpointManager that saves every
  few steps and restores the newest one at a start.

It is careful where these leave a choice. Rows are not fetched ahead of the step by a pipeline of tf.data, and an offset is stored
for the next commit only once its row was learned from (`enable.auto.offset.store` off): no commit counts a row that no step has
seen. `after_checkpoint` commits what the checkpoint holds, once that is on disk. Bad rows are left out, by the rule of the check.
It has one replica and no windows. Kills come each few seconds here, so commits and checkpoints come more often than they need to
elsewhere, as the trainer's do: each second, and each ten steps. With the default of 5 s it would be killed before its first commit.

How often each row has gone into the weights is kept beside them, in the checkpoint itself: `counts`, int32 [partitions, offsets].
"""

import argparse
import pathlib

import keras
import numpy as np
import tensorflow as tf
from confluent_kafka import Consumer, KafkaError, KafkaException

from benchmarks.chaos.check import reason_of
from tfonline.report.status import Status

COUNTS_SHAPE = (4, 400_000)
_BATCH_ROWS, _SAVE_EVERY_STEPS, _IDS = 256, 10, 10_000


def main() -> None:
    """Learns until it is killed, or to the end of the topic."""
    args = _parse()
    pathlib.Path(args.model_dir).mkdir(parents=True, exist_ok=True)
    status = Status(pathlib.Path(args.model_dir, "status"))  # for the killer: it tells the phase, as the trainer's does
    status.set("starting")
    model, counts, steps = _model(), tf.Variable(tf.zeros(COUNTS_SHAPE, tf.int32)), tf.Variable(0, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer, counts=counts, steps=steps)
    manager = tf.train.CheckpointManager(checkpoint, args.model_dir, max_to_keep=3)
    if manager.latest_checkpoint:
        checkpoint.restore(manager.latest_checkpoint).assert_consumed()
    consumer = Consumer(
        {
            "bootstrap.servers": args.bootstrap_servers,
            "group.id": args.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": args.commit == "auto",
            "auto.commit.interval.ms": 1000,
            "enable.auto.offset.store": False,
            "session.timeout.ms": 6000,  # a killed member keeps its partitions for so long
            "enable.partition.eof": True,
        }
    )
    consumer.subscribe([args.topic])

    def save() -> None:
        status.set("saving", 0, int(steps))
        manager.save()
        if args.commit == "after_checkpoint":
            status.set("committing", 0, int(steps))
            consumer.commit(asynchronous=False)

    ended: set[int] = set()
    unsaved = 0  # steps
    while not (args.stop_at_end and ended and len(ended) == len(consumer.assignment())):
        messages = [m for m in consumer.consume(_BATCH_ROWS, 0.3) if not _is_end(m, ended)]
        if rows := [m for m in messages if not reason_of(m.value(), True)]:
            status.set("training", 0, int(steps))
            model.train_on_batch(*_features([m.value() for m in rows]))
            counts.scatter_nd_add([(m.partition(), m.offset()) for m in rows], [1] * len(rows))
            unsaved += 1
            steps.assign_add(1)
        for message in messages:
            consumer.store_offsets(message)
        if unsaved == _SAVE_EVERY_STEPS:
            save()
            unsaved = 0
        if rows:
            status.set("reading", 0, int(steps))
    if unsaved:
        save()
    consumer.close()


def _is_end(message: object, ended: set[int]) -> bool:
    """Whether it is no row, but tells the end of a partition; keeps account of the partitions that are at their ends."""
    if message.error() is None:
        ended.discard(message.partition())
        return False
    if message.error().code() != KafkaError._PARTITION_EOF:
        raise KafkaException(message.error())
    ended.add(message.partition())
    return True


def _model() -> keras.Model:
    keras.utils.set_random_seed(1)
    numbers, ids = keras.Input((13,)), keras.Input((26,), dtype="int64")
    embedded = keras.layers.Flatten()(keras.layers.Embedding(_IDS, 8)(ids))
    hidden = keras.layers.Dense(64, "relu")(keras.layers.Concatenate()([numbers, embedded]))
    model = keras.Model([numbers, ids], keras.layers.Dense(1, "sigmoid")(hidden))
    model.compile("adam", "binary_crossentropy")
    model.optimizer.build(model.trainable_variables)
    return model


def _features(values: list[bytes]) -> tuple[list[np.ndarray], np.ndarray]:
    """([float32 [rows, 13], int64 [rows, 26]], float32 [rows, 1]) of good rows: logarithms, hashed ids, labels."""
    cells = np.array([value.split(b"\t") for value in values], dtype=object)
    numbers = np.where(cells[:, 1:14] == b"", b"0", cells[:, 1:14]).astype(np.float32)
    ids = tf.strings.to_hash_bucket_fast(cells[:, 14:], _IDS).numpy()
    return [np.log1p(np.maximum(numbers, 0)), ids], cells[:, :1].astype(np.float32)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("bootstrap_servers", "topic", "model_dir", "group"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--commit", choices=("auto", "after_checkpoint"), default="auto")
    parser.add_argument("--stop_at_end", action="store_true", help="end where the topic ends")
    return parser.parse_args()


if __name__ == "__main__":
    main()
