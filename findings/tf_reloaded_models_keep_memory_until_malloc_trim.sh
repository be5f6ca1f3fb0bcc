#!/usr/bin/env bash
# tf.saved_model.load: a process that loads model after model, and drops each, keeps tens of megabytes that no garbage collection frees.
#
# Expected: a model that is dropped is freed: after gc.collect() a process that has loaded forty small models, one after the other, is as
#   large as after the first few.
# What happens: nothing leaks, and it grows all the same. A load makes a graph of many small objects in each of TensorFlow's threads; the
#   C library (glibc) keeps what is freed for the thread that had it, below blocks that are still in use. gc.collect() changes nothing,
#   malloc_trim(0) gives nearly all of it back.
# Seen: a model of 3 layers, 60 loads, glibc 2.36, resident memory above that after 3 loads: TensorFlow 2.21.0 +72 MB, after gc.collect()
#   +72 MB, after malloc_trim(0) +9 MB; 2.16.2 +84, +84 and +9 MB. The script fails where memory no longer grows, or malloc_trim no
#   longer helps.
# Whom it hurts: servers that follow a folder of versions, and trainers that load what they have exported to look at it, for months. It looks
#   like a leak, and people restart processes on a schedule for it.
# What to do: gc.collect() and malloc_trim(0) (by ctypes) after each load, in the thread that loaded; it takes some ten milliseconds. Or an
#   allocator that gives memory back by itself (jemalloc, by LD_PRELOAD).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=$(command -v "${PYTHON:-python3.12}" || command -v python3)
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tensorflow==2.21.0
cat > "$folder/try.py" <<'PYTHON'
import ctypes
import gc
import pathlib
import sys

import tensorflow as tf

FOLDER = sys.argv[1]


class Model(tf.Module):
    def __init__(self):
        self.layers = [tf.Variable(tf.random.normal([64, 64])) for _ in range(3)]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def score(self, rows):
        x = tf.strings.to_number(tf.reshape(tf.strings.split(rows, "\t").flat_values, [-1, 64]))
        for layer in self.layers:
            x = tf.nn.relu(x @ layer)
            for i in range(10):
                x = tf.where(x > i, x - i, x * 0.5)
        return {"score": tf.reduce_sum(x, axis=1)}


def resident():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def load():
    signature = tf.saved_model.load(FOLDER).signatures["serving_default"]
    signature(rows=tf.constant(["\t".join(["1"] * 64)]))


model = Model()
tf.saved_model.save(model, FOLDER, signatures=model.score)
for _ in range(3):
    load()
gc.collect()
ctypes.CDLL(None).malloc_trim(0)
begin = resident()
for _ in range(60):
    load()
grown = resident() - begin
gc.collect()
collected = resident() - begin
ctypes.CDLL(None).malloc_trim(0)
trimmed = resident() - begin
print("TensorFlow", tf.__version__)
print(f"60 loads: +{grown:.0f} MB, after gc.collect() +{collected:.0f} MB, after malloc_trim(0) +{trimmed:.0f} MB")
sys.exit("it has changed" if collected < 15 or trimmed > collected / 2 else 0)
PYTHON
TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES='' "$folder/venv/bin/python" "$folder/try.py" "$folder/model"
