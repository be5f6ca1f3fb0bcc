"""Scalars for TensorBoard."""

import tensorflow as tf

from tfonline.report.writers import Scalars


class TensorBoard:
    """Writes scalars as TensorBoard events into `folder`."""

    def __init__(self, folder: str):
        self._writer = tf.summary.create_file_writer(folder)

    def write(self, step: int, scalars: Scalars) -> None:
        """Each scalar by its name; readable at once."""
        with self._writer.as_default(step):
            for name, value in scalars.items():
                tf.summary.scalar(name, value)
        self._writer.flush()

    def close(self) -> None:
        """Closes the event file."""
        self._writer.close()
