#!/usr/bin/env bash
# tf.strings.regex_full_match: one pattern for a row of 300 decimal numbers is matched right, and each row writes a line to stderr.
#
# Expected: a pattern for a whole row of separated fields is a cheap check of all fields at once, at 300 columns as at 40.
# What happens: TensorFlow gives RE2 its default memory, and has no setting for it. Counted repetitions ([0-9]{1,40}) are written out, so
#   that the pattern of 300 columns is a program of tens of thousands of instructions. RE2 finds no room for its automaton, writes "DFA out
#   of memory" to stderr at each text, past every level of TensorFlow's log, and matches in another way. The answer is right.
# Seen: TensorFlow 2.21.0 and 2.16.2: at 40 columns one pattern is 2.3 times as fast as split fields with a small pattern each, and
#   silent; at 300 columns it is as fast as those (0.97 to 1.1), and 54,600 lines of 130 bytes came in a second. The script fails where
#   nothing is written any more.
# Whom it hurts: who validates CSV or TSV rows in a tf.data graph or a SavedModel by one pattern, on the day when a table has more columns:
#   no error, and a log that grows by megabytes a second until the disk is full.
# What to do: where the pattern is long, split first, and match the fields by one small pattern: it costs no more.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=$(command -v "${PYTHON:-python3.12}" || command -v python3)
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tensorflow==2.21.0
cat > "$folder/try.py" <<'PYTHON'
import time

import tensorflow as tf

NUMBER = r"(?:-?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,2})?)?"
ROWS = 300


@tf.function
def by_one_pattern(rows, columns):
    return tf.strings.regex_full_match(rows, "\t".join([NUMBER] * columns))


@tf.function
def field_by_field(rows, columns):
    fields = tf.reshape(tf.strings.split(rows, "\t").flat_values, [-1, columns])
    return tf.reduce_all(tf.strings.regex_full_match(fields, NUMBER), axis=1)


print("TensorFlow", tf.__version__)
for columns in (40, 300):
    rows = tf.constant(["\t".join(f"{i}.{j}" for j in range(columns)) for i in range(ROWS)])
    rates = []
    for check in (by_one_pattern, field_by_field):
        assert check(rows, columns).numpy().all()
        began, done = time.process_time(), 0
        while time.process_time() - began < 1:
            check(rows, columns)
            done += ROWS
        rates.append(done / (time.process_time() - began))
    print(f"{columns} columns: one pattern {rates[0]:,.0f} rows/s, field by field {rates[1]:,.0f}: {rates[0] / rates[1]:.3f}", flush=True)
PYTHON
TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES='' "$folder/venv/bin/python" "$folder/try.py" 2> "$folder/errors" || { tail "$folder/errors"; exit 1; }
lines=$(grep -c "DFA out of memory" "$folder/errors" || true)
echo "lines on stderr about the automaton: $lines"
[ "$lines" -gt 300 ] || { echo "it has changed"; exit 1; }
