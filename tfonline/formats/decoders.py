"""Messages that Python decodes, in this process or in several of their own: Python's lock lets one decode on one core.

A process holds nothing that counts: what it makes of messages depends on them alone, and tf.data keeps their order.
"""

import pickle
import queue
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tfonline.companion import Companion, end_all, receive, send
from tfonline.formats import decoder_process
from tfonline.formats.by_python import keeping_error
from tfonline.formats.of_batches import OfBatches

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

    from tfonline.formats.by_python import ByPython

# Makes arrays and bytes of a format, messages' sizes, int32 [m], the messages one behind the other, and what else it is given. A
# function of a module: a process finds it by its name.
Work = Callable[..., tuple]


def decoded(form: "ByPython", message: "tf.Tensor", work: Work, given: tuple, types: "Sequence[tf.DType]") -> "list[tf.Tensor]":
    """What `work(form, sizes, content, *given)` makes of `message`, string [m], in a graph: tensors of these types.

    Bytes become a string []. It runs in a process of `form.decoders`, where there are such.
    """
    import tensorflow as tf

    def here(sizes: "np.ndarray", content: "np.ndarray") -> tuple:
        with keeping_error(form):
            return _as_arrays(work(form, sizes, content[0], *given))

    task = pickle.dumps((work, given))

    def elsewhere(sizes: "np.ndarray", content: "np.ndarray") -> tuple:
        with keeping_error(form):
            return _as_arrays(form.decoders.decode(task, sizes, content[0]))

    # AutoGraph would make a slow copy of all Python that it is let near.
    plain = tf.autograph.experimental.do_not_convert
    # One text, and not an object of Python's for each message. A text by itself would be bytes here, and an array there.
    parts = [tf.strings.length(message), tf.strings.reduce_join(message, keepdims=True)]
    return tf.numpy_function(plain(elsewhere if form.decoders else here), parts, types, stateful=False)


class Decoders:
    """Processes that decode messages.

    Args:
      form: the messages' format. What is said of its schemas is said once, whoever has met one first.
      number: of the processes.
    """

    def __init__(self, form: "ByPython", number: int):
        self._form, self._closed = form, False
        self._say: Callable[[str], None] = print
        if isinstance(form, OfBatches):
            form.schemas.say = self._say = _once(form.schemas.say)
        self._about = pickle.dumps(form.about)
        self._processes = [Companion(decoder_process.__name__, f"--decoder_processes={number}") for _ in range(number)]
        # Each that has nothing to do, and what it knows of the format.
        self._free: queue.SimpleQueue[tuple[Companion, bytes]] = queue.SimpleQueue()
        for process in self._processes:
            self._free.put((process, b""))
        weakref.finalize(self, end_all, self._processes)

    def decode(self, task: bytes, sizes: "np.ndarray", content: bytes) -> tuple:
        """What a task makes of messages of these sizes, int32 [m], which stand one behind the other in `content`.

        A task is the pickled `(work, given)`: it is the same again and again, and costs nothing then.

        What a process cannot decode is decoded here: for a schema that it does not know, a registry is asked by this process alone.

        Raises:
          UserError: as the format does; or a process was ended (exit 75).
          InterruptedError: the processes were ended by `close`.
        """
        process, known = self._free.get()
        try:
            about, known = (b"" if known is self._about else self._about), self._about
            send(process.connection, decoder_process.parts_of((about, task, sizes)))
            send(process.connection, [content])
            made, said = decoder_process.whole(receive(process.connection))
        except (EOFError, OSError):
            raise InterruptedError("the decoders were closed") if self._closed else process.ended() from None
        finally:
            self._free.put((process, known))
        for line in said:
            self._say(line)
        if made is None:
            work, given = pickle.loads(task)
            made = work(self._form, sizes, content, *given)
            self._about = pickle.dumps(self._form.about)
        return made

    def close(self) -> None:
        """Ends the processes, and whoever waits for one."""
        self._closed = True
        end_all(self._processes)


def _once(say: Callable[[str], None]) -> Callable[[str], None]:
    """Says each line once."""
    said: set[str] = set()

    def once(line: str) -> None:
        if line not in said:
            said.add(line)
            say(line)

    return once


def _as_arrays(made: tuple[Any, ...]) -> tuple:
    """As tf.numpy_function takes it: numpy's own type of bytes would lose trailing zeros."""
    import numpy as np

    def array(part: Any) -> Any:
        if not isinstance(part, bytes):
            return part
        whole = np.empty((), object)
        whole[()] = part
        return whole

    return tuple(map(array, made))
