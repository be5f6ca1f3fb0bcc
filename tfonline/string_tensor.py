"""Many texts on their way to TensorFlow without a Python object for each."""

import numpy as np

# A tensor's protocol buffer may be no larger.
MOST_BYTES = 2**31 - 1


def serialized(size: np.ndarray, *content: bytes | memoryview) -> bytes:
    """A serialized `TensorProto` of strings, of which `tf.io.parse_tensor` makes a string [k].

    Its field `tensor_content` holds the sizes as varints and then the bytes, so that nothing is done for each text in Python.

    Args:
      size: bytes of each text, int32 or int64 [k].
      content: all texts, one behind the other, in any number of pieces.

    Raises:
      OverflowError: they are too large for it; says how many bytes there are.
    """
    sizes = _varints(size)
    length = len(sizes) + sum(map(len, content))
    if length > MOST_BYTES - 100:
        raise OverflowError(f"{length:,} bytes")
    dim = b"\x08" + _varint(len(size))
    shape = b"\x12" + _varint(len(dim)) + dim
    # dtype = DT_STRING; tensor_shape; tensor_content.
    return b"".join((b"\x08\x07\x12", _varint(len(shape)), shape, b"\x22", _varint(length), sizes, *content))


def _varints(numbers: np.ndarray) -> bytes:
    """Numbers of 31 bits, one behind the other: seven bits a byte, the lowest first, the eighth says that more come."""
    most = int(numbers.max(initial=0))
    if most < 128:  # the usual case, at a tenth of the time
        return numbers.astype(np.uint8).tobytes()
    places = -(-most.bit_length() // 7)
    rest = numbers[:, None] >> (7 * np.arange(places))
    more = rest >> 7 > 0
    present = np.concatenate([np.ones((len(numbers), 1), bool), more[:, :-1]], axis=1)
    return ((rest & 127) | (more << 7)).astype(np.uint8)[present].tobytes()


def _varint(number: int) -> bytes:
    return _varints(np.array([number], np.int64))
