"""What a run runs on."""

import platform

import tensorflow as tf

import tfonline
from tfonline.keep.checkpoint_contents import FORMAT


def stack(message_format: str) -> dict[str, str]:
    """Names and versions, for people and for the labels of metrics.

    Args:
      message_format: of the stream.
    """
    return {
        "version": tfonline.__version__,
        "stack": "tf" + "".join(tf.__version__.split(".")[:2]),
        "tensorflow": tf.__version__,
        "python": platform.python_version(),
        "checkpoint_format": str(FORMAT),
        "message_format": message_format,
    }
