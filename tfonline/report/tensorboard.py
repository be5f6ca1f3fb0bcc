"""Scalars for TensorBoard."""

import os
import socket
import time

import tensorflow as tf

from tfonline.report.writers import Scalars


class TensorBoard:
    """Writes scalars as TensorBoard events into `folder`.

    Not by tf.summary: each write of a window's scalars keeps some 17 kB of memory for good there.
    """

    def __init__(self, folder: str):
        os.makedirs(folder, exist_ok=True)
        # TensorBoard takes a file for events by its name, and reads the files of a folder in the order of their times.
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self._file = tf.io.TFRecordWriter(os.path.join(folder, name))
        self._write(tf.compat.v1.Event(wall_time=time.time(), file_version="brain.Event:2"))

    def write(self, step: int, scalars: Scalars) -> None:
        """Each scalar by its name; readable at once."""
        values = [tf.compat.v1.Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        self._write(tf.compat.v1.Event(wall_time=time.time(), step=step, summary=tf.compat.v1.Summary(value=values)))

    def close(self) -> None:
        """Closes the event file."""
        self._file.close()

    def _write(self, event: tf.compat.v1.Event) -> None:
        self._file.write(event.SerializeToString())
        self._file.flush()
