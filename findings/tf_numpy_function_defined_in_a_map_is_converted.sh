#!/usr/bin/env bash
# tf.numpy_function: Python that is defined inside a function for Dataset.map is converted by AutoGraph, and takes many times as long.
#
# Expected: the function that tf.numpy_function is given is Python that runs as it is written, wherever it is defined; that is what the
#   operation is for.
# What happens: where it is defined inside the function that Dataset.map is given (a closure over what it needs, the usual way), it is a
#   part of what AutoGraph converts, and at each call its loops and conditions run through AutoGraph's operators. The answer is the
#   same. Nothing is said. The same lines, defined at the module's level, run as they are.
# Seen: TensorFlow 2.21.0: a loop over 10,000 byte strings at 72,000 strings/s inside and 2,600,000 outside (beside other work on two
#   cores); TensorFlow 2.16.2: 45,000 and 3,200,000. The script fails where the inner function is converted no more.
# Whom it hurts: who decodes messages by Python inside a tf.data pipeline. The decoder alone was measured, and found fast; when the
#   pipeline is slow, the GIL gets the blame.
# What to do: define it outside, or wrap what makes it in tf.autograph.experimental.do_not_convert.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=$(command -v "${PYTHON:-python3.12}" || command -v python3)
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tensorflow==2.21.0
cat > "$folder/try.py" <<'PYTHON'
import sys
import time

import numpy as np
import tensorflow as tf

ROWS, BATCHES = 10_000, 20


def converted():
    """Whether one of the callers is code that AutoGraph has generated."""
    frame = sys._getframe(1)
    while frame:
        if "__autograph_generated_file" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


def upper(messages):
    found = []
    for message in messages.tolist():
        if message.startswith(b"1"):
            found.append(message.upper())
        else:
            found.append(message)
    return np.array(found, object)


def outside(message):
    return tf.numpy_function(rows_of_module, [message], tf.string)


def rows_of_module(messages):
    seen["outside"].add(converted())
    return upper(messages)


def inside(message):
    def rows(messages):
        seen["inside"].add(converted())
        found = []
        for message in messages.tolist():
            if message.startswith(b"1"):
                found.append(message.upper())
            else:
                found.append(message)
        return np.array(found, object)

    return tf.numpy_function(rows, [message], tf.string)


seen = {"inside": set(), "outside": set()}
rows = tf.data.Dataset.from_tensors(tf.constant([b"%d" % i for i in range(ROWS)])).repeat(BATCHES)
rates, answers = {}, {}
for name, function in (("inside", inside), ("outside", outside)):
    began = time.process_time()
    for answers[name] in rows.map(function):
        pass
    rates[name] = ROWS * BATCHES / (time.process_time() - began)
print("TensorFlow", tf.__version__)
print("converted:", {name: sorted(found) for name, found in seen.items()})
print("rows/s: inside %.0f, outside %.0f, %.0f times" % (*rates.values(), rates["outside"] / rates["inside"]))
assert (answers["inside"].numpy() == answers["outside"].numpy()).all()
assert seen == {"inside": {True}, "outside": {False}}, "it has changed"
PYTHON
TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES='' "$folder/venv/bin/python" "$folder/try.py" 2> "$folder/errors" || { cat "$folder/errors"; exit 1; }
