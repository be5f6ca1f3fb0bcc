"""What is learned: whether a row is a click. Imports no TensorFlow until it parses."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf


class Label:
    """See Kind. 0 or 1, and never missing. A request for a score may come in messages without the label's field."""

    name, is_feature = "label", False
    pattern = "[01]"
    blank, example = "0", "0"
    reason, expected = "label", "0 or 1"
    dictionary = ""

    def parse(self, text: "tf.Tensor") -> "tf.Tensor":
        """See Kind: float32 [b, k]."""
        import tensorflow as tf

        return tf.strings.to_number(text, tf.float32)
