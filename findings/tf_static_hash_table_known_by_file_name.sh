#!/usr/bin/env bash
# TensorFlow's StaticHashTable from a file: a second table of the same file name has the first one's entries, whatever the file holds.
#
# Expected: tf.lookup.StaticHashTable(TextFileInitializer(path, ...)) holds what the file holds when the table is made; a SavedModel
#   that takes the file along as an asset has the entries by which the model computed.
# What happens: the table's resource is named after the *path* and the columns, and is found again by that name for as long as the process
#   lives. The file is not read again. tf.saved_model.save copies the file as it is at that moment: the exported model looks up other ids
#   than the process that exported it.
# Seen: TensorFlow 2.21.0: after the file was written anew, a second table in the same process gives 1 for a word that the file now maps
#   to 2; the model exported from it gives 2 when it is loaded in another process.
# Whom it hurts: who makes vocabularies again in a notebook, a test or a resident trainer, and writes them to the same path: features
#   and the served model disagree, without an error. Click and recommendation models score rows by other ids' weights.
# What to do: give a vocabulary file a name of its own for each content (a digest in the name), or make the table of tensors
#   (KeyValueTensorInitializer).
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
"${PYTHON:-python3}" -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check tensorflow==2.21.0
cat > "$here/try.py" <<'PY'
import pathlib
import subprocess
import sys

import tensorflow as tf

folder = pathlib.Path(sys.argv[1])
path = folder / "words.tsv"
LOAD = "import sys, tensorflow as tf; print(int(tf.saved_model.load(sys.argv[1]).look_up(tf.constant('word'))))"


def table(content):
    path.write_text(content)
    initializer = tf.lookup.TextFileInitializer(str(path), tf.string, 0, tf.int64, 1)
    return tf.lookup.StaticHashTable(initializer, default_value=-1)


first = table("word\t1\n")
second = table("word\t2\n")
found = int(second.lookup(tf.constant("word")))

model = tf.Module()
model.table = second
model.look_up = tf.function(second.lookup, input_signature=[tf.TensorSpec([], tf.string)])
tf.saved_model.save(model, str(folder / "model"))
command = [sys.executable, "-c", LOAD, str(folder / "model")]
served = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])

print("tensorflow", tf.__version__)
print(f"the file maps the word to 2; the second table in this process gives {found}; the exported model, in another process, {served}")
assert (found, served) == (1, 2), "it behaves otherwise now"
print("as described")
PY
TF_CPP_MIN_LOG_LEVEL=3 "$here/venv/bin/python" "$here/try.py" "$here"
