"""tfonline: a resident online-learning trainer for click-through rates.

`python -m tfonline.train` is the main job; train.py is the story of a run. A row's way: `stream` plans windows of a topic and reads
them, `formats` finds the columns of their messages, `features` makes batches of them, `model` scores a batch and then learns from
it. The loop (loop.py) tells each event to the `actions`: they refuse, count (`evaluate`), save (`keep`), publish (`publish`) and
report (`report`); `monitor` answers who asks meanwhile. With `cluster`, several processes train one model. `serving` is another
program: it answers by what is published.
What a user sets is in `settings`, room by room.

docs/design.md says what holds, by which tests, and where something new goes.
"""

import contextlib
import importlib.metadata
import os

# TensorFlow reads it when it is imported. By itself it takes oneDNN only on processors with VNNI; on others, too, its products are
# faster (benchmarks/speed/README.md).
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def xla_flags(tensorflow: str, flags: str) -> str:
    """The XLA_FLAGS that GPUs want which exchange in compiled steps.

    TensorFlow 2.16 gives NCCL one key for all that a process's GPUs exchange, and NCCL takes a key once. With some exchanges on the
    kernels' stream and some beside it, XLA would want two sets of connections, and fail. Later versions need nothing, and do not
    know these names. A name that XLA does not know ends the process at its first use of XLA.

    Args:
      tensorflow: the version that is installed; '' for none.
      flags: the variable as it is. Without a dash at its beginning it is the name of a file, and stays.
    """
    words = flags.split()
    if not tensorflow.startswith("2.16.") or (words and not words[0].startswith("-")):
        return flags
    for name in ("--xla_gpu_enable_async_collectives", "--xla_gpu_enable_async_all_reduce"):
        if not any(word.startswith(name) for word in words):
            words.append(f"{name}=false")
    return " ".join(words)


def _installed(*names: str) -> str:
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return ""


# XLA reads it once, when TensorFlow is imported.
if _flags := xla_flags(_installed("tensorflow", "tensorflow-cpu"), os.environ.get("XLA_FLAGS", "")):
    os.environ["XLA_FLAGS"] = _flags

__version__ = "0.1.0"
