"""tfonline: a resident online-learning trainer for click-through rates.

`python -m tfonline.train` is the main job. Data goes one way: `stream` plans and reads windows of a Kafka topic, `features`
turns raw rows into a `Batch`, `model` learns from it, `evaluate` scores each row before it is learned from, `publish` keeps
checkpoints and `report` tells people. Only `train.py` knows all of them; the rooms do not import each other.
"""

import os

# TensorFlow reads it when it is imported. By itself it takes oneDNN only on processors with VNNI; on others, too, its products are
# faster (benchmarks/speed/README.md).
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# XLA reads it once; the flags are those of TensorFlow 2.16, which gives NCCL one key for all that a process's GPUs exchange. NCCL
# takes a key once: with some exchanges on the kernels' stream and some beside it, XLA would want two sets of connections, and fail.
# Without a dash at its beginning it is the name of a file.
if not (_flags := os.environ.get("XLA_FLAGS", "").split()) or _flags[0].startswith("-"):
    for _name in ("--xla_gpu_enable_async_collectives", "--xla_gpu_enable_async_all_reduce"):
        if not any(flag.startswith(_name) for flag in _flags):
            _flags.append(f"{_name}=false")
    os.environ["XLA_FLAGS"] = " ".join(_flags)

__version__ = "0.1.0"
